"""Which snapshots go, in which order, and what stays whatever is asked."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.store import Row, Store
from obuild.store.pruning import Conditions, judge
from tests.store.samples import key, record


def _row(number: int, used: int, parent: int | None = None) -> Row:
    when = f"2026-01-01 00:{used // 60:02}:{used % 60:02}"
    return Row(key(number), when, when, 0, None if parent is None else key(parent))


def _judge(
    rows: list[Row], conditions: Conditions, held: tuple[int, ...] = (), **sizes: int
) -> list[int]:
    """The numbers of what goes, in order."""
    in_use = {key(number) for number in held}
    rows = sorted(rows, key=lambda row: row.used)
    verdicts = judge(
        rows,
        {row.id: row.parent for row in rows},
        lambda found, _used: "in use" if found in in_use else "",
        {key(int(name[1:])): size for name, size in sizes.items()},
        conditions,
    )
    assert {verdict.row for verdict in verdicts} == set(rows)
    assert all(verdict.why for verdict in verdicts)
    return [int(verdict.row.id[:8], 16) for verdict in verdicts if verdict.goes]


_TWO_CHAINS = [_row(1, 50), _row(2, 10, 1), _row(3, 10, 2), _row(4, 50, 1), _row(5, 40, 4)]


def test_a_chain_goes_from_its_end(store: Store) -> None:
    assert _judge(_TWO_CHAINS, Conditions()) == [3, 2, 5, 4, 1]


def test_what_was_used_since_stays() -> None:
    before = Conditions(before="2026-01-01 00:00:40")
    assert _judge(_TWO_CHAINS, before) == [3, 2]


def test_at_most_so_many() -> None:
    assert _judge(_TWO_CHAINS, Conditions(most=3)) == [3, 2, 5]
    assert _judge(_TWO_CHAINS, Conditions(most=0)) == []


def test_until_the_store_is_small_enough() -> None:
    sizes = {"n1": 1000, "n2": 10, "n3": 5, "n4": 0, "n5": 100}
    assert _judge(_TWO_CHAINS, Conditions(keep=2000), **sizes) == []
    assert _judge(_TWO_CHAINS, Conditions(keep=1110), **sizes) == [3]
    assert _judge(_TWO_CHAINS, Conditions(keep=1109), **sizes) == [3, 2]
    assert _judge(_TWO_CHAINS, Conditions(keep=0), **sizes) == [3, 2, 5, 4, 1]


def test_all_conditions_have_to_hold() -> None:
    conditions = Conditions("2026-01-01 00:00:45", most=2, keep=1000)
    assert _judge(_TWO_CHAINS, conditions, n1=1000, n5=1) == [3, 2]
    assert _judge(_TWO_CHAINS, conditions, n1=1000, n3=1) == [3]


def test_what_is_in_use_stays_with_all_that_it_stands_on() -> None:
    assert _judge(_TWO_CHAINS, Conditions(), held=(2,)) == [3, 5, 4]
    assert _judge(_TWO_CHAINS, Conditions(), held=(1,)) == [3, 2, 5, 4]


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 30)), min_size=1, max_size=15),
    st.sets(st.integers(0, 14)),
    st.none() | st.integers(0, 12),
)
def test_never_a_parent_before_its_child_nor_what_is_held(
    made: list[tuple[int, int]], held: set[int], most: int | None
) -> None:
    rows = [
        _row(number, used, None if number == 0 else parent % number)
        for number, (used, parent) in enumerate(made)
    ]
    gone = _judge(rows, Conditions(most=most), tuple(held))
    parents = {int(row.id[:8], 16): row.parent for row in rows}
    assert not held & set(gone)
    for place, number in enumerate(gone):
        children = {n for n, parent in parents.items() if parent == key(number)}
        assert children <= set(gone[:place])
    if most is not None:
        assert len(gone) <= most
    elif not held:
        assert len(gone) == len(rows)


# What running builds hold


def _chain(store: Store, *numbers: int) -> None:
    parent: str | None = None
    for number in numbers:
        store.add(key(number), parent, record(key(number)))
        parent = key(number)


def _age(store: Store, *numbers: int, seconds: int = 3600) -> None:
    """These were last used that long ago."""
    import sqlite3

    then = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - seconds))
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    with connection:
        connection.executemany(
            "UPDATE builds SET used = ? WHERE id = ?", [(then, key(n)) for n in numbers]
        )
    connection.close()


def _evict(store: Store, number: int) -> str:
    with store.lock(key(number), Event(), lambda: None):
        return store.evict(key(number), "prune")


def test_a_leaf_goes_if_nobody_builds(store: Store) -> None:
    _chain(store, 1, 2)
    assert _evict(store, 1) == "something was built on it meanwhile"
    assert _evict(store, 2) == ""
    assert _evict(store, 2) == "it is gone already"
    assert _evict(store, 1) == ""
    last = store.last_at("build.spec", "", 0)
    assert last is not None
    assert last.gone.startswith("prune on ")


def test_what_a_running_build_found_or_made_stays(store: Store) -> None:
    _chain(store, 1, 2)
    _age(store, 1, 2)
    store.add(key(5), None, record(key(5)))
    _age(store, 5)
    with store.visit():
        assert store.use([key(2)]) == []
        store.add(key(3), None, record(key(3)))
        assert _evict(store, 2) == "in use by a running build"
        assert _evict(store, 3) == "in use by a running build"
        assert _evict(store, 5) == ""
    assert _evict(store, 2) == ""


def test_what_a_step_in_work_stands_on_stays(store: Store) -> None:
    _chain(store, 1)
    _age(store, 1)
    with store.lock(key(2), Event(), lambda: None):
        store.announce(key(2), key(1), record(key(2)))
        assert _evict(store, 1) == "a step in work stands on it"
    assert _evict(store, 1) == ""


def test_a_build_that_comes_too_late_finds_no_row(store: Store) -> None:
    _chain(store, 1, 2)
    _age(store, 1, 2)
    with store.visit():
        assert _evict(store, 2) == ""
        assert store.use([key(1), key(2)]) == [key(2)]
        assert _evict(store, 1) == "in use by a running build"


def test_a_clock_that_was_set_back_removes_nothing(store: Store) -> None:
    _chain(store, 1)
    _age(store, 1)
    with store.visit() as visit:
        later = time.time() + 7200
        os.utime(os.path.join(store.path, "locks", f"{visit}.lock"), (later, later))
        assert "clock" in _evict(store, 1)
    assert _evict(store, 1) == ""


def test_what_is_used_in_a_visit_is_never_older_than_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _chain(store, 1)
    with store.visit():
        monkeypatch.setattr("obuild.store.rows.timestamp", lambda: "2020-01-01 00:00:00")
        store.use([key(1)])
        assert _evict(store, 1) == "in use by a running build"


def test_what_the_engine_would_not_remove_is_put_back(store: Store) -> None:
    _chain(store, 1, 2)
    _age(store, 2)
    before = store.rows(), list(store.records())
    row = store.row(key(2))
    assert row is not None
    assert _evict(store, 2) == ""
    store.put_back(row, row.parent)
    assert (store.rows(), list(store.records())) == before


def test_parents_that_were_lost_are_found_again(store: Store) -> None:
    store.reconcile({key(n): True for n in (1, 2, 3)})
    assert {row.parent for row in store.rows()} == {None}
    keys = [key(1), key(2), key(3)]
    assert store.use(keys, {child: parent for parent, child in pairwise(keys)}) == []
    assert store.descendants(key(1)) == [key(3), key(2), key(1)]
    assert sorted(row.rc for row in store.rows()) == [0, 1, 1]
    # What is known is not changed.
    store.use(keys, {key(3): key(1)})
    assert store.links()[key(3)] == key(2)
