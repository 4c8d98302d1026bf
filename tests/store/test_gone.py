"""Records of snapshots that are gone: why and when, and how long they are kept."""

from __future__ import annotations

import os
import re
import sqlite3

import pytest

from obuild.store import Store, records
from tests.store.samples import key, record


def _chain(store: Store, *numbers: int) -> None:
    parent: str | None = None
    for number in numbers:
        store.add(key(number), parent, record(key(number), position=number))
        parent = key(number)


def _gone(store: Store, position: int) -> str:
    found = store.last_at("build.spec", "", position)
    assert found is not None
    return found.gone


def test_what_is_stored_is_not_gone(store: Store) -> None:
    _chain(store, 1)
    assert _gone(store, 1) == ""


@pytest.mark.parametrize("why", ["prune", "delete"])
def test_the_record_outlives_the_row_and_tells_why(why: str, store: Store) -> None:
    _chain(store, 1, 2, 3)
    store.forget([key(3)], why)
    assert store.record(key(3)) is None
    assert [found.key for found in store.records()] == [key(1), key(2)]
    assert re.fullmatch(why + r" on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", _gone(store, 3))
    last = store.last_at("build.spec", "", 3)
    assert last is not None
    assert last.preimage == record(key(3)).preimage
    assert store.records_on(key(2)) == [last]


def test_an_image_that_somebody_removed(store: Store) -> None:
    _chain(store, 1, 2)
    store.reconcile({key(1): True})
    assert _gone(store, 2).startswith("the image was removed behind obuild's back, noticed on 2")
    assert store.reconcile({key(1): True}).forgotten == ()


def test_the_first_reason_stays(store: Store) -> None:
    _chain(store, 1)
    store.forget([key(1)], "prune")
    store.forget([key(1)], "delete")
    store.reconcile({})
    assert _gone(store, 1).startswith("prune on ")


def test_a_step_that_is_built_again_is_not_gone(store: Store) -> None:
    _chain(store, 1)
    store.forget([key(1)], "prune")
    store.announce(key(1), None, record(key(1), position=1))
    assert store.record(key(1)) is not None
    assert _gone(store, 1) == ""
    store.forget([key(1)], "prune")
    _chain(store, 1)
    assert store.record(key(1)) is not None


def test_a_step_whose_image_is_found_again_is_not_gone(store: Store) -> None:
    _chain(store, 1, 2)
    store.forget([key(2)], "prune")
    assert store.reconcile({key(1): True, key(2): True}).adopted == (key(2),)
    assert _gone(store, 2) == ""
    row = store.row(key(2))
    assert row is not None
    assert row.parent == key(1)


def test_a_step_that_fails_when_it_is_built_again_keeps_its_record(store: Store) -> None:
    _chain(store, 1)
    store.forget([key(1)], "prune")
    store.announce(key(1), None, record(key(1), position=1))
    store.reconcile({})
    assert store.record(key(1)) is None
    assert _gone(store, 1).startswith("its last build did not end well, noticed on ")
    # One that never was built has nothing to tell.
    store.announce(key(2), None, record(key(2), position=2))
    store.reconcile({})
    assert store.last_at("build.spec", "", 2) is None


def test_only_so_many_are_kept_and_the_oldest_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_GONE_KEPT", 3)
    _chain(store, 1, 2, 3, 4, 5, 6)
    for number in (2, 4, 6, 1, 5):
        store.forget([key(number)], "prune")
    kept = {n for n in range(1, 7) if store.last_at("build.spec", "", n) is not None}
    assert kept == {3, 6, 1, 5}


def test_only_so_much_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_GONE_BYTES", 250)
    for number in (1, 2, 3):
        store.add(key(number), None, record(key(number), position=number, preimage="x" * 100))
    store.forget([key(1), key(2), key(3)], "prune")
    assert [bool(store.last_at("build.spec", "", n)) for n in (1, 2, 3)] == [False, True, True]


def test_cleaning_forgets_all(store: Store) -> None:
    _chain(store, 1, 2)
    store.forget([key(2)], "prune")
    store.set_store_id("0123")
    store.forget_all()
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    for table in ("builds", "obuild_records", "obuild_gone", "obuild_places"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()
    assert store.store_id == "0123"
