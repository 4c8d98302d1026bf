"""Rows against a model: whatever is added, used and forgotten, the table tells the truth."""

from __future__ import annotations

import os
import sqlite3
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from obuild.store import Store
from tests.store.samples import key, record

_NUMBERS = st.integers(0, 12)


class Rows(RuleBasedStateMachine):
    """The parent of a step is a function of its key: ``number // 2`` here, 0 has none.

    The model is the set of numbers that have rows. Everything else follows from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(self.folder.name)
        self.model: set[int] = set()

    @staticmethod
    def parent(number: int) -> int | None:
        return number // 2 if number else None

    @rule(number=_NUMBERS)
    def add(self, number: int) -> None:
        parent = self.parent(number)
        self.store.add(key(number), None if parent is None else key(parent), record(key(number)))
        self.model.add(number)

    @rule(numbers=st.sets(_NUMBERS))
    def forget(self, numbers: set[int]) -> None:
        self.store.forget(key(number) for number in numbers)
        self.model -= numbers

    @rule(number=_NUMBERS)
    def delete(self, number: int) -> None:
        """All that stands on it goes too, children first."""
        found = self.store.descendants(key(number))
        for place, gone in enumerate(found):
            row = self.store.row(gone)
            assert row is not None
            assert row.parent is None or row.parent not in found[:place]
        self.store.forget(found)
        self.model -= self.built_on(number)

    def built_on(self, number: int) -> set[int]:
        """By the links that are kept: a row's own chain must reach ``number`` through rows."""
        found = {number} & self.model
        waiting = [number]
        while waiting:
            top = waiting.pop()
            children = {n for n in self.model if n and n // 2 == top and n != top} - found
            found |= children
            waiting.extend(children)
        return found

    @rule(numbers=st.lists(_NUMBERS))
    def use(self, numbers: list[int]) -> None:
        self.store.use(key(number) for number in numbers)

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder.name)

    @rule(numbers=st.sets(_NUMBERS))
    def lose_images(self, numbers: set[int]) -> None:
        present = {key(number): True for number in self.model - numbers}
        done = self.store.reconcile(present)
        assert set(done.forgotten) == {key(number) for number in self.model & numbers}
        assert done.adopted == done.orphans == ()
        self.model -= numbers

    @rule(numbers=st.sets(_NUMBERS))
    def find_images(self, numbers: set[int]) -> None:
        known = {row.id: row.parent for row in self.store.rows()}
        done = self.store.reconcile({key(number): True for number in self.model | numbers})
        assert set(done.adopted) == {key(number) for number in numbers - self.model}
        assert {k: p for k, p in known.items() if p is not None}.items() <= {
            row.id: row.parent for row in self.store.rows()
        }.items()
        # Nothing is known of where the adopted ones stood; that is learnt when they are added.
        for number in sorted(numbers - self.model):
            self.add(number)

    @invariant()
    def rows_are_the_models(self) -> None:
        rows = {row.id: row for row in self.store.rows()}
        assert set(rows) == {key(number) for number in self.model}
        for number in self.model:
            parent = self.parent(number)
            linked = key(parent) if parent in self.model and parent != number else None
            assert rows[key(number)].parent == linked
            children = [n for n in self.model if n and n // 2 == number and n != number]
            assert rows[key(number)].rc == len(children)
            assert self.store.record(key(number)) is not None

    def teardown(self) -> None:
        file = os.path.join(self.store.path, "state", "db", "db.sqlite")
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        self.store.close()
        self.folder.cleanup()


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
