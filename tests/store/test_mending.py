"""Damaged databases are kept aside and replaced; others, that only cannot be had, never."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from obuild.errors import StoreError
from obuild.store import Store, database
from tests.store.samples import fill, key, record

_ROOT = Path(__file__).resolve().parent.parent.parent


def _file(root: Path) -> Path:
    return root / "state" / "db" / "db.sqlite"


def _aside(root: Path) -> list[Path]:
    """The databases that were kept, without their side files."""
    found = (root / "state" / "db").glob("db.sqlite.corrupt-*")
    return sorted(path for path in found if not path.name.endswith(("-wal", "-shm")))


def _fill(root: Path, number: int = 200) -> None:
    with Store.open(str(root)) as store:
        store.set_store_id("0123")
        for each in range(number):
            store.add(key(each), None, record(key(each)))


def _text(data: bytes) -> bytes:
    return b"this is no database\n" * (len(data) // 20)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _cut_within_a_page(data: bytes) -> bytes:
    return data[: len(data) - 5000]


def _scribbled(data: bytes) -> bytes:
    return data[:100] + b"\xa5" * (len(data) - 100)


def _one_page(data: bytes) -> bytes:
    middle = len(data) // 8192 * 4096
    return data[:middle] + os.urandom(4096) + data[middle + 4096 :]


def _header(data: bytes) -> bytes:
    return b"\0" * 100 + data[100:]


@pytest.mark.parametrize(
    "damage", [_text, _cut, _cut_within_a_page, _scribbled, _one_page, _header]
)
def test_a_damaged_database_is_kept_and_a_new_one_begun(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    _fill(tmp_path / "s")
    file = _file(tmp_path / "s")
    wrong = damage(file.read_bytes())
    file.write_bytes(wrong)
    told: list[str] = []
    with Store.open(str(tmp_path / "s"), warn=told.append) as store:
        assert store.rows() == []
        assert store.store_id is None
        store.add(key(1), None, record(key(1)))
    [said] = told
    [kept] = _aside(tmp_path / "s")
    assert kept.read_bytes() == wrong
    assert "damaged" in said
    assert str(kept) in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Store.open(str(tmp_path / "s"), warn=told.append) as store:
        assert [row.id for row in store.rows()] == [key(1)]
    assert len(told) == 1


def test_side_files_are_kept_with_it(tmp_path: Path) -> None:
    """Left by a process that died; they belong to the damaged database and to no other."""
    _fill(tmp_path / "s", 3)
    file = _file(tmp_path / "s")
    file.write_bytes(b"x" * 5000)
    wal = file.with_name("db.sqlite-wal")
    wal.write_bytes(b"y" * 5000)
    told: list[str] = []
    Store.open(str(tmp_path / "s"), warn=told.append).close()
    [kept] = _aside(tmp_path / "s")
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"y" * 5000
    assert not wal.exists()


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE builds; CREATE TABLE builds (name TEXT)",
        "DROP TABLE obuild_records",
        "DROP TABLE obuild_gone; CREATE TABLE obuild_gone (x)",
        "UPDATE obuild_values SET value = 'x' WHERE name = 'schema'",
        "DELETE FROM obuild_values WHERE name = 'schema'",
    ],
)
def test_tables_that_are_others_are_damage(change: str, tmp_path: Path) -> None:
    _fill(tmp_path / "s", 2)
    connection = sqlite3.connect(_file(tmp_path / "s"))
    connection.executescript(change)
    connection.close()
    with pytest.raises(StoreError, match="damaged"):
        Store.open(str(tmp_path / "s"))
    assert _aside(tmp_path / "s") == []
    told: list[str] = []
    Store.open(str(tmp_path / "s"), warn=told.append).close()
    assert len(told) == len(_aside(tmp_path / "s")) == 1


def test_damage_twice_within_a_second_keeps_both(tmp_path: Path) -> None:
    for _ in range(3):
        Store.open(str(tmp_path / "s"), warn=lambda _: None).close()
        _file(tmp_path / "s").write_bytes(b"x" * 5000)
    Store.open(str(tmp_path / "s"), warn=lambda _: None).close()
    assert len(_aside(tmp_path / "s")) == 3


def test_a_newer_schema_is_no_damage(tmp_path: Path) -> None:
    _fill(tmp_path / "s", 1)
    connection = sqlite3.connect(_file(tmp_path / "s"))
    with connection:
        connection.execute("UPDATE obuild_values SET value = 99 WHERE name = 'schema'")
        connection.execute("DROP TABLE obuild_gone")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        Store.open(str(tmp_path / "s"), warn=pytest.fail)
    assert _aside(tmp_path / "s") == []


def test_a_locked_database_is_no_damage(tmp_path: Path) -> None:
    _fill(tmp_path / "s", 1)
    other = sqlite3.connect(_file(tmp_path / "s"))
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked by another process"):
        Store.open(str(tmp_path / "s"), timeout=0.1, warn=pytest.fail)
    other.close()
    assert _aside(tmp_path / "s") == []


def test_a_full_disk_is_no_damage(small_disk: Path) -> None:
    _fill(small_disk / "s", 20)
    fill(small_disk)
    with pytest.raises(StoreError, match="no space left"):
        _add_many(small_disk / "s")
    assert _aside(small_disk / "s") == []


def _add_many(root: Path) -> None:
    with Store.open(str(root), warn=pytest.fail) as store:
        for number in range(1000, 3000):
            store.add(key(number), None, record(key(number), preimage="x" * 5000))


def test_damage_in_the_middle_is_said_and_the_next_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large database only what matters most is looked at when it is opened."""
    monkeypatch.setattr(database, "_SMALL", 0)
    _fill(tmp_path / "s")
    file = _file(tmp_path / "s")
    connection = sqlite3.connect(file)
    [(page,)] = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'obuild_records'"
    )
    connection.close()
    data = file.read_bytes()
    file.write_bytes(data[: (page - 1) * 4096] + b"\xa5" * 4096 + data[page * 4096 :])
    with (
        Store.open(str(tmp_path / "s"), warn=pytest.fail) as store,
        pytest.raises(StoreError, match="damaged") as error,
    ):
        store.record(key(1))
    assert "next `obuild run`" in str(error.value.hint)
    told: list[str] = []
    Store.open(str(tmp_path / "s"), warn=told.append).close()
    assert len(told) == len(_aside(tmp_path / "s")) == 1
    assert not file.with_name("db.sqlite.damaged").exists()


def test_what_was_only_suspected_is_kept(tmp_path: Path) -> None:
    _fill(tmp_path / "s", 5)
    _file(tmp_path / "s").with_name("db.sqlite.damaged").touch()
    with Store.open(str(tmp_path / "s"), warn=pytest.fail) as store:
        assert len(store.rows()) == 5
    assert [path.name for path in _file(tmp_path / "s").parent.iterdir()] == ["db.sqlite"]


def test_a_text_that_is_none_is_damage(tmp_path: Path) -> None:
    _fill(tmp_path / "s", 1)
    connection = sqlite3.connect(_file(tmp_path / "s"))
    with connection:
        connection.execute("UPDATE builds SET used = CAST(X'ff' AS TEXT)")
    connection.close()
    with Store.open(str(tmp_path / "s")) as store, pytest.raises(StoreError, match="damaged"):
        store.rows()


def test_one_of_several_mends(tmp_path: Path) -> None:
    _fill(tmp_path / "s")
    _file(tmp_path / "s").write_bytes(b"x" * 50_000)
    told: list[str] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with Store.open(str(tmp_path / "s"), warn=told.append) as store:
                store.add(key(number), None, record(key(number)))
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(told) == len(_aside(tmp_path / "s")) == 1
    with Store.open(str(tmp_path / "s")) as store:
        assert {row.id for row in store.rows()} == {key(number) for number in range(8)}


_OLD = """
import sys
from obuild.store import Store
from tests.store.samples import fill, key, record
store = Store.open(sys.argv[1])
store.add(key(1), None, record(key(1)))
print("open", flush=True)
sys.stdin.readline()
store.add(key(2), None, record(key(2)))
store.close()
"""


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_who_had_the_old_database_open_does_not_harm_the_new_one(how: str, tmp_path: Path) -> None:
    """SQLite removes the write-ahead file by its name when the last connection closes: that
    would be the new database's, with all that is not in the file yet."""
    root = tmp_path / "s"
    process = subprocess.Popen(
        [sys.executable, "-c", _OLD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    file = _file(root)
    if how == "deleted":
        for path in file.parent.iterdir():
            path.unlink()
    else:
        for path in (file, file.with_name("db.sqlite-wal")):
            with path.open("r+b") as stream:
                stream.write(b"x" * path.stat().st_size)
    with Store.open(str(root), warn=lambda _: None) as store:
        store.add(key(3), None, record(key(3)))
        process.communicate(b"go on\n", timeout=30)
        wal = file.with_name("db.sqlite-wal")
        assert wal.stat().st_nlink == 1
        with Store.open(str(root)) as second:
            second.add(key(4), None, record(key(4)))
        assert {row.id for row in store.rows()} == {key(3), key(4)}
    with Store.open(str(root)) as store:
        assert {row.id for row in store.rows()} == {key(3), key(4)}
