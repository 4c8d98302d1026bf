"""The store against what OBuilder left behind."""

from __future__ import annotations

import os
import sqlite3
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from obuild.errors import StoreError
from obuild.store import Store, prefix_of
from obuild.store.rows import Row
from obuild.values import names
from tests.store.samples import GoldenState, golden_states, leave_as_obuilder, prefix_cases, record

_STATES = golden_states()
_ROOT = "/tmp/golden-prefix"
_DELETES = [
    (before, after)
    for before, after in pairwise(_STATES)
    if before.store == after.store and after.command[1] in ("delete", "clean")
]


@pytest.mark.parametrize("case", prefix_cases(), ids=lambda case: case["name"] or case["path"])
def test_the_prefix_is_of_the_real_path(case: dict[str, Any]) -> None:
    if case["real_path"] is not None:
        assert prefix_of(case["real_path"]) == case["prefix"]


@pytest.mark.parametrize(
    "case",
    [case for case in prefix_cases() if case["how"] == "observed"],
    ids=lambda case: case["name"],
)
def test_paths_lead_where_they_led_obuilder(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(path: str) -> str:
        return path.replace(_ROOT, os.path.realpath(tmp_path))

    for folder in case["directories_before"]:
        os.makedirs(here(folder))
    for link, target in case["links_before"].items():
        os.symlink(here(target), here(link))
    monkeypatch.chdir(here(case["cwd"]))
    if case["real_path"] is None:
        with pytest.raises(StoreError, match="is not a directory") as refused:
            Store.open(here(case["path"]))
        assert here(case["links_before"][case["path"]]) in str(refused.value.hint)
        return
    with Store.open(here(case["path"])) as store:
        assert store.path == here(case["real_path"])
        assert store.prefix == prefix_of(here(case["real_path"]))


def test_a_new_store_has_obuilders_tables_letter_for_letter(store: Store) -> None:
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    ours = dict(
        connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'obuild_%' AND sql NOT NULL"
        )
    )
    pragmas = {
        name: str(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("journal_mode", "encoding", "page_size", "user_version", "application_id")
    }
    connection.close()
    golden = sqlite3.connect(":memory:")
    golden.executescript(_STATES[0].dump)
    theirs = dict(golden.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))
    golden.close()
    assert ours == theirs
    assert pragmas == {
        "journal_mode": "wal",
        "encoding": "UTF-8",
        "page_size": "4096",
        "user_version": "0",
        "application_id": "0",
    }


def _values(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in names(row))


@pytest.mark.parametrize("state", _STATES, ids=str)
def test_a_store_of_obuilder_opens(state: GoldenState, tmp_path: Path) -> None:
    leave_as_obuilder(tmp_path / "store", state)
    with Store.open(str(tmp_path / "store")) as store:
        assert {_values(row) for row in store.rows()} == set(state.rows)
        used = [row.used for row in store.rows()]
        assert used == sorted(used)
        for name, content in state.logs:
            chunks = store.read_log(name.removesuffix(".log"))
            assert chunks is not None
            assert b"".join(chunks) == content


def test_a_store_of_obuilder_becomes_private(tmp_path: Path) -> None:
    root = tmp_path / "store"
    leave_as_obuilder(root, _STATES[0])
    Store.open(str(root)).close()
    modes = {
        path.relative_to(root): stat.S_IMODE(path.stat().st_mode)
        for path in [root, *root.rglob("*")]
    }
    assert modes.pop(Path("empty")) == 0
    assert {mode for path, mode in modes.items() if (root / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if (root / path).is_file()} == {0o600}


@pytest.mark.parametrize(("before", "after"), _DELETES, ids=str)
def test_deleting_leaves_what_obuilder_leaves(
    before: GoldenState, after: GoldenState, tmp_path: Path
) -> None:
    leave_as_obuilder(tmp_path / "store", before)
    with Store.open(str(tmp_path / "store")) as store:
        if after.command[1] == "clean":
            gone = [row.id for row in store.rows()]
        else:
            gone = store.descendants(after.command[-1])
            removed = [
                line.split()[1]
                for line in after.stdout.splitlines()
                if line.startswith("Removing ")
            ]
            # OBuilder names an id that it does not know as well.
            known = {row[0] for row in before.rows}
            assert gone == [found for found in removed if found in known]
        store.forget(gone)
        assert {_values(row) for row in store.rows()} == set(after.rows)


def test_building_again_counts_as_obuilder_counts(tmp_path: Path) -> None:
    deleted, again = _STATES[3], _STATES[4]
    leave_as_obuilder(tmp_path / "store", deleted)
    with Store.open(str(tmp_path / "store")) as store:
        had = {row[0] for row in deleted.rows}
        for made, _created, _used, _rc, parent in again.rows:
            if made not in had:
                store.add(made, parent, record(made))
        assert {(row.id, row.rc, row.parent) for row in store.rows()} == {
            (made, rc, parent) for made, _, _, rc, parent in again.rows
        }


def test_obuilder_can_read_and_write_what_we_wrote(store: Store) -> None:
    """Its statements, on its table, while our connection is open."""
    state = _STATES[0]
    for made, _created, _used, _rc, parent in state.rows:
        store.add(made, parent, record(made))
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    leaf = connection.execute(
        "SELECT id FROM builds WHERE rc = 0 AND used < '9999-01-01 00:00:00'"
        " ORDER BY used ASC LIMIT 1"
    ).fetchone()[0]
    with connection:
        connection.execute(
            "INSERT OR REPLACE INTO builds VALUES ('aa', '2026-01-01 00:00:00',"
            " '2026-01-01 00:00:00', 0, ?)",
            (leaf,),
        )
        connection.execute("UPDATE builds SET rc = rc + 1 WHERE id = ?", (leaf,))
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    assert store.descendants(leaf) == ["aa", leaf]
    row = store.row(leaf)
    assert row is not None
    assert row.rc == 1
