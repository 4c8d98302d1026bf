"""Rows: counts of children, links that are cut and mended, order."""

from __future__ import annotations

import os
import sqlite3
from threading import Thread

import pytest

from obuild.errors import StoreError
from obuild.store import Store
from tests.store.samples import key, record


def _add(store: Store, number: int, parent: int | None = None) -> None:
    store.add(key(number), None if parent is None else key(parent), record(key(number)))


def _tree(store: Store) -> dict[int, tuple[int, int | None]]:
    """Number of each row to its rc and its parent's number."""
    numbers = {key(number): number for number in range(100)}
    return {
        numbers[row.id]: (row.rc, None if row.parent is None else numbers[row.parent])
        for row in store.rows()
    }


def _set_used(store: Store, number: int, used: str) -> None:
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    with connection:
        connection.execute("UPDATE builds SET used = ? WHERE id = ?", (used, key(number)))
    connection.close()


def test_a_child_counts_at_its_parent(store: Store) -> None:
    _add(store, 1)
    _add(store, 2, 1)
    _add(store, 3, 1)
    _add(store, 4, 3)
    assert _tree(store) == {1: (2, None), 2: (0, 1), 3: (1, 1), 4: (0, 3)}


def test_adding_again_counts_once(store: Store) -> None:
    _add(store, 1)
    _add(store, 2, 1)
    _set_used(store, 2, "2020-01-01 00:00:00")
    before = store.row(key(2))
    _add(store, 2, 1)
    after = store.row(key(2))
    assert before is not None
    assert after is not None
    assert _tree(store) == {1: (1, None), 2: (0, 1)}
    assert after.created == before.created
    assert after.used > before.used


def test_a_hit_is_used_now(store: Store) -> None:
    for number in (1, 2, 3):
        _add(store, number)
        _set_used(store, number, f"2020-01-0{number} 00:00:00")
    assert [row.id for row in store.rows()] == [key(1), key(2), key(3)]
    store.use(key(1))
    assert [row.id for row in store.rows()] == [key(2), key(3), key(1)]
    store.use([key(2), key(3), key(99)])
    assert all(row.used > "2021" for row in store.rows())
    assert store.row(key(99)) is None


def test_using_nothing_is_nothing(store: Store) -> None:
    store.use([])
    assert store.rows() == []


def test_what_is_forgotten_is_gone_and_its_log_stays(store: Store) -> None:
    _add(store, 1)
    _add(store, 2, 1)
    with store.open_log(key(2)) as log:
        log.write(b"kept")
    store.forget([key(2), key(99)])
    assert _tree(store) == {1: (0, None)}
    assert store.record(key(2)) is None
    assert [made.key for made in store.records()] == [key(1)]
    assert list(store.read_log(key(2)) or ()) == [b"kept"]
    store.remove_log(key(2))
    store.remove_log(key(2))
    assert store.read_log(key(2)) is None


def test_a_child_outlives_its_parents_row_and_finds_it_again(store: Store) -> None:
    _add(store, 1)
    _add(store, 2, 1)
    _add(store, 3, 2)
    store.forget([key(2)])
    assert _tree(store) == {1: (0, None), 3: (0, None)}
    assert store.descendants(key(2)) == [key(3)]
    _add(store, 2, 1)
    assert _tree(store) == {1: (1, None), 2: (1, 1), 3: (0, 2)}
    assert store.descendants(key(1)) == [key(3), key(2), key(1)]


def test_a_detached_child_that_is_forgotten_does_not_come_back(store: Store) -> None:
    _add(store, 1)
    _add(store, 2, 1)
    store.forget([key(1)])
    store.forget([key(2)])
    _add(store, 1)
    assert _tree(store) == {1: (0, None)}


def test_a_parent_may_come_later(store: Store) -> None:
    _add(store, 2, 1)
    assert _tree(store) == {2: (0, None)}
    _add(store, 1)
    assert _tree(store) == {1: (1, None), 2: (0, 1)}


def test_no_parent_ever_dangles(store: Store) -> None:
    for number in range(20):
        _add(store, number, number // 2 if number else None)
    store.forget([key(number) for number in range(1, 20, 3)])
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_counts_that_went_astray_come_right(store: Store) -> None:
    """OBuilder starts a row that it writes again at 0, whatever stands on it."""
    _add(store, 1)
    _add(store, 2, 1)
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    with connection:
        connection.execute("UPDATE builds SET rc = 0")
    connection.close()
    _add(store, 3, 1)
    assert _tree(store)[1] == (2, None)
    store.forget([key(3)])
    assert _tree(store)[1] == (1, None)


def test_descendants_of_a_long_chain(store: Store) -> None:
    for number in range(5):
        _add(store, number, number - 1 if number else None)
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    with connection:
        connection.executemany(
            "INSERT INTO builds VALUES (?, '2026-01-01', '2026-01-01', 1, ?)",
            [(key(number), key(number - 1)) for number in range(5, 3000)],
        )
    connection.close()
    assert store.descendants(key(1)) == [key(number) for number in range(2999, 0, -1)]
    store.forget(store.descendants(key(1)))
    assert _tree(store) == {0: (0, None)}


def test_a_circle_of_parents_ends(store: Store) -> None:
    """No program makes one, but a file may hold anything."""
    _add(store, 1)
    _add(store, 2, 1)
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    with connection:
        connection.execute("UPDATE builds SET parent = ? WHERE id = ?", (key(2), key(1)))
    connection.close()
    assert sorted(store.descendants(key(1))) == [key(1), key(2)]
    store.forget(store.descendants(key(1)))
    assert store.rows() == []


def test_find(store: Store) -> None:
    for number in (0x3BE3C, 0x3BE40, 0x4):
        _add(store, number)
    store.open_log(key(0x3BE3F)).close()
    assert store.find("0003be") == [key(0x3BE3C), key(0x3BE3F), key(0x3BE40)]
    assert store.find("0003BE3C") == [key(0x3BE3C)]
    assert store.find(key(4)) == [key(4)]
    assert store.find("f") == store.find("") == store.find("../") == store.find("0%") == []


def test_threads_share_a_store(store: Store) -> None:
    _add(store, 0)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 10):
                _add(store, number, 0)
                store.use(key(number))
                assert store.row(key(number)) is not None
                if number % 2:
                    store.forget([key(number)])
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    threads = [Thread(target=work, args=(first,)) for first in range(10, 90, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert _tree(store)[0] == (40, None)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\0b", "x" * 300])
def test_names_that_are_no_keys_are_refused(name: str, store: Store) -> None:
    for use in (store.log_path, store.open_log, store.read_log, store.remove_log, store.alive):
        with pytest.raises(StoreError, match="is not a key"):
            use(name)
