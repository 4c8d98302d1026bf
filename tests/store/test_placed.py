"""What stood at the places of a stage, and records whatever became of their snapshots."""

from __future__ import annotations

from obuild.store import Store
from obuild.store.records import Placed
from obuild.values import replace
from tests.store.samples import key, record


def test_the_steps_of_a_stage_by_position(store: Store) -> None:
    for number, (within, position) in enumerate([("dev", 2), ("dev", 1), ("", 1)]):
        step = replace(record(key(number)), spec="x.spec", within=within, position=position)
        store.add(key(number), None, replace(step, title=f"\udcff{number}"))
    kind = record(key(0)).kind
    expected = [Placed(1, key(1), kind, "\udcff1"), Placed(2, key(0), kind, "\udcff0")]
    assert store.placed("x.spec", "dev") == expected
    assert store.placed("x.spec", "other") == []
    store.forget([key(1)], "prune")
    assert store.placed("x.spec", "dev") == expected


def test_a_record_is_found_when_its_snapshot_is_gone(store: Store) -> None:
    assert store.any_record(key(1)) is None
    store.add(key(1), None, record(key(1)))
    stored = store.any_record(key(1))
    assert stored is not None
    assert stored == store.record(key(1))
    store.forget([key(1)], "prune")
    gone = store.any_record(key(1))
    assert store.record(key(1)) is None
    assert gone is not None
    assert gone.gone.startswith("prune on 20")
    assert replace(gone, gone="") == stored
