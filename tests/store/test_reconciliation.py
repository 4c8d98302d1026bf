"""Database and engine disagree: what is mended, and that nothing half made is ever a hit."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from obuild.store import Reconciliation, Store
from tests.store.samples import GoldenState, golden_states, key, leave_as_obuilder, record

_STATES = golden_states()
_SOUND = [state for state in _STATES if {row[0] for row in state.rows} == state.images]
_ACCIDENT = [state for state in _STATES if state not in _SOUND]
_HALF_MADE = "f306cfc8c6872a3271e0ab86d0b1befa0cec2666af3707b656da4ac166c1eb66"


def _chain(store: Store, *numbers: int) -> None:
    parent: str | None = None
    for number in numbers:
        store.add(key(number), parent, record(key(number)))
        parent = key(number)


def _present(*numbers: int, mark: bool = True) -> dict[str, bool]:
    return {key(number): mark for number in numbers}


def test_agreement_changes_nothing(store: Store) -> None:
    _chain(store, 1, 2, 3)
    before = store.rows(), list(store.records())
    assert store.reconcile(_present(1, 2, 3)) == Reconciliation()
    assert store.reconcile(_present(1, 2, 3, mark=False)) == Reconciliation()
    assert (store.rows(), list(store.records())) == before


def test_a_row_without_an_image_goes_and_its_children_stay(store: Store) -> None:
    _chain(store, 1, 2, 3)
    assert store.reconcile(_present(1, 3)) == Reconciliation(forgotten=(key(2),))
    assert store.record(key(2)) is None
    child = store.row(key(3))
    assert child is not None
    assert child.parent is None
    base = store.row(key(1))
    assert base is not None
    assert base.rc == 0
    # Nothing is wrong any more: the child is trusted, and is found once its parent is back.
    assert store.reconcile(_present(1, 3)) == Reconciliation()
    store.add(key(2), key(1), record(key(2)))
    assert store.descendants(key(1)) == [key(3), key(2), key(1)]


def test_a_marked_image_is_adopted_where_its_announcement_says(store: Store) -> None:
    """As after a kill between the engine's commit and the row."""
    _chain(store, 1)
    store.announce(key(2), key(1), record(key(2), title="announced"))
    assert store.reconcile(_present(1, 2)) == Reconciliation(adopted=(key(2),))
    row = store.row(key(2))
    assert row is not None
    assert (row.parent, row.rc) == (key(1), 0)
    found = store.record(key(2))
    assert found is not None
    assert found.title == "announced"
    base = store.row(key(1))
    assert base is not None
    assert base.rc == 1


def test_marked_images_are_adopted_by_an_empty_database(store: Store) -> None:
    store.announce(key(2), key(1), record(key(2)))
    done = store.reconcile(_present(1, 2, 3))
    assert done == Reconciliation(adopted=(key(1), key(2), key(3)))
    parents = {row.id: row.parent for row in store.rows()}
    assert parents == {key(1): None, key(2): key(1), key(3): None}


def test_an_unmarked_image_without_a_row_is_an_orphan(store: Store) -> None:
    _chain(store, 1)
    present = {**_present(1), **_present(2, 3, mark=False)}
    for _ in range(2):
        assert store.reconcile(present) == Reconciliation(orphans=(key(2), key(3)))
        assert store.row(key(2)) is None


def test_a_step_that_never_came_to_an_image_leaves_no_record(store: Store) -> None:
    store.announce(key(1), None, record(key(1)))
    with store.lock(key(1), Event(), lambda: None):
        store.reconcile({})
        assert store.record(key(1)) is not None
    store.reconcile({})
    assert store.record(key(1)) is None


@pytest.mark.parametrize("mark", [True, False])
def test_work_in_progress_is_left_alone(mark: bool, store: Store) -> None:
    _chain(store, 1, 2)
    with store.lock(key(2), Event(), lambda: None), store.lock(key(3), Event(), lambda: None):
        assert store.reconcile({**_present(1), **_present(3, mark=mark)}) == Reconciliation()
        assert store.row(key(2)) is not None
        assert store.row(key(3)) is None
    done = store.reconcile({**_present(1), **_present(3, mark=mark)})
    assert done.forgotten == (key(2),)
    assert (done.adopted or done.orphans) == (key(3),)


def test_rows_made_after_the_engine_was_asked_are_not_missing(store: Store) -> None:
    _chain(store, 1)
    known = [row.id for row in store.rows()]
    present = _present(1)
    store.add(key(2), key(1), record(key(2)))
    assert store.reconcile(present, known) == Reconciliation()
    assert store.row(key(2)) is not None
    assert store.reconcile({}, known).forgotten == (key(1),)


@pytest.mark.parametrize("state", _SOUND, ids=str)
def test_a_sound_store_of_obuilder_is_trusted(state: GoldenState, tmp_path: Path) -> None:
    leave_as_obuilder(tmp_path / "s", state)
    with Store.open(str(tmp_path / "s")) as store:
        before = store.rows()
        assert store.reconcile(dict.fromkeys(state.images, False)) == Reconciliation()
        assert store.rows() == before


@pytest.mark.parametrize("state", _ACCIDENT, ids=str)
def test_what_stands_on_a_half_made_image_is_no_hit(state: GoldenState, tmp_path: Path) -> None:
    leave_as_obuilder(tmp_path / "s", state)
    parents = {row[0]: row[4] for row in state.rows}

    def doubtful(found: str | None) -> bool:
        return found is not None and (found == _HALF_MADE or doubtful(parents.get(found)))

    with Store.open(str(tmp_path / "s")) as store:
        done = store.reconcile(dict.fromkeys(state.images, False))
        rows = {row.id for row in store.rows()}
        assert done.adopted == ()
        assert set(done.forgotten) == {made for made in parents if doubtful(made)}
        assert set(done.orphans) == {*done.forgotten, _HALF_MADE}
        assert done.orphans[-1] == _HALF_MADE
        for place, gone in enumerate(done.orphans):
            assert parents.get(gone) not in done.orphans[:place]
        assert rows == parents.keys() - set(done.forgotten)
        left = dict.fromkeys(state.images - set(done.orphans), False)
        assert store.reconcile(left) == Reconciliation()


def test_the_golden_data_hold_both_kinds() -> None:
    assert len(_SOUND) >= 5
    assert len(_ACCIDENT) >= 4


def test_our_own_step_on_a_lost_parent_of_obuilders_is_trusted(tmp_path: Path) -> None:
    """OBuilder can lose the row of a sound parent; a marked image was made on a sound one."""
    leave_as_obuilder(tmp_path / "s", _ACCIDENT[1])
    dangling = next(row[0] for row in _ACCIDENT[1].rows if row[4] == _HALF_MADE)
    images = _ACCIDENT[1].images - {_HALF_MADE}
    with Store.open(str(tmp_path / "s")) as store:
        done = store.reconcile({image: image == dangling for image in images})
        assert done == Reconciliation()
        row = store.row(dangling)
        assert row is not None
        assert row.parent is None
        assert dangling in store.descendants(_HALF_MADE)
