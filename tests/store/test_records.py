"""Records: what comes back is what was kept, whatever bytes it holds."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obuild.source import decode
from obuild.store import Record, Store
from tests.store.samples import key, record

_TEXT = st.binary(max_size=60).map(decode)
_PATH = st.binary(min_size=1, max_size=20).filter(lambda path: b"\0" not in path).map(decode)


@settings(max_examples=60, deadline=None)
@given(
    made=st.builds(
        Record,
        key=st.just(key(1)),
        kind=st.sampled_from(["base", "run", "copy", "seal"]),
        title=_TEXT,
        preimage=_TEXT,
        spec=_TEXT,
        within=_TEXT,
        position=st.integers(0, 10_000),
        created=st.just("2026-01-02 03:04:05"),
        seconds=st.floats(0, 1e6),
        settled=st.booleans(),
        executables=st.lists(_PATH).map(tuple),
        base=st.none() | st.just(key(2)),
    )
)
def test_a_record_comes_back_as_it_was(made: Record) -> None:
    with tempfile.TemporaryDirectory() as folder, Store.open(folder) as store:
        store.add(made.key, None, made)
        assert store.record(made.key) == made
        assert list(store.records()) == [made]
        assert store.last_at(made.spec, made.within, made.position) == made


def test_a_record_is_replaced(store: Store) -> None:
    store.add(key(1), None, record(key(1), title="old"))
    store.add(key(1), None, record(key(1), title="new"))
    assert [found.title for found in store.records()] == ["new"]


def test_records_of_many_come_oldest_first(store: Store) -> None:
    for number in range(150):
        created = f"2026-01-02 03:{number % 50:02}:00"
        store.add(key(number), None, record(key(number), created=created))
    found = [made.created for made in store.records()]
    assert len(found) == 150
    assert found == sorted(found)


def test_settled(store: Store) -> None:
    store.add(key(1), None, record(key(1)))
    store.set_settled(key(1))
    store.set_settled(key(2))
    found = store.record(key(1))
    assert found is not None
    assert found.settled


def test_the_last_step_of_a_place_is_what_was_built_or_found_there(store: Store) -> None:
    store.add(key(1), None, record(key(1), position=3, within="dev"))
    store.add(key(2), None, record(key(2), position=3, within="dev"))
    assert store.last_at("build.spec", "dev", 3) == store.record(key(2))
    assert store.last_at("build.spec", "", 3) is None
    assert store.last_at("other.spec", "dev", 3) is None
    # A hit of another spec's step: the record stays that spec's, the place knows the key.
    store.note_places("other.spec", [("", 0, key(1)), ("dev", 3, key(2))])
    assert store.last_at("other.spec", "", 0) == store.record(key(1))
    store.note_places("other.spec", [("", 0, key(2))])
    assert store.last_at("other.spec", "", 0) == store.record(key(2))


def test_steps_on_one_base_come_newest_first(store: Store) -> None:
    for number, day in ((1, 5), (2, 7), (3, 6)):
        made = record(key(number), created=f"2026-01-0{day} 00:00:00")
        store.add(key(number), key(9), made)
    store.add(key(4), None, record(key(4)))
    assert [found.key for found in store.records_on(key(9))] == [key(2), key(3), key(1)]
    assert [found.key for found in store.records_on(key(9), limit=1)] == [key(2)]
    assert [found.key for found in store.records_on(None)] == [key(4)]


def test_an_announced_step_has_a_record_but_no_row(store: Store) -> None:
    store.announce(key(1), None, record(key(1)))
    assert store.row(key(1)) is None
    assert store.record(key(1)) == record(key(1))
    # It is not the last of its place before it was built.
    assert store.last_at("build.spec", "", 0) is None


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_preimages_may_be_long(size: int, store: Store) -> None:
    store.add(key(1), None, record(key(1), preimage="x" * size))
    found = store.record(key(1))
    assert found is not None
    assert len(found.preimage) == size
