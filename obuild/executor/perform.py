"""One step: take it from the store, or do it under its key's lock and keep it."""

from __future__ import annotations

import time
from collections.abc import Callable

from obuild.engine import Action, Cancel, Engine
from obuild.errors import Cancelled, ObuildError, StepFailed
from obuild.events import (
    Emit,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
    Warned,
)
from obuild.events import StepFailed as StepFailedEvent
from obuild.executor.inputs import Prepared
from obuild.executor.lookup import Lookup
from obuild.source import Place
from obuild.store import Record, Store
from obuild.values import Value, replace

__all__ = ["Performer", "Task"]


_OTHER_CAUSES = (126, 127, 137)
"""Not executable, not found, killed: no network would have helped."""


class Task(Value):
    """A step with all that is needed to do it, to name it and to record it.

    ``preimage`` makes its text as it may be stored. ``parent`` is the key of the snapshot that
    it stands on, ``base`` that of the stage's base; both None for a base itself.
    ``if_it_fails`` is what a user should then be told of.
    """

    number: int
    within: tuple[str, ...]
    position: int
    kind: str
    title: str
    place: Place | None
    prepared: Prepared
    preimage: Callable[[], str]
    parent: str | None
    base: str | None
    action: Callable[[], Action]
    if_it_fails: str | None = None

    @property
    def key(self) -> str:
        return self.prepared.key


class Performer:
    """Does the steps of one build, one after the other; counts hits and saved steps."""

    def __init__(
        self,
        store: Store,
        engine: Callable[[], Engine],
        lookup: Lookup,
        emit: Emit,
        cancel: Cancel,
        *,
        spec: str,
        replay: bool,
        obuilder_keys: bool,
    ):
        self.hits: list[str] = []
        self.saved = 0
        self._store = store
        self._engine = engine
        self._lookup = lookup
        self._emit = emit
        self._cancel = cancel
        self._spec = spec
        self._replay = replay
        self._obuilder_keys = obuilder_keys

    def perform(self, task: Task) -> None:
        """Raises what went wrong, with the place of the op."""
        if self._cancel.is_set():
            raise Cancelled("the build was cancelled")
        began = time.monotonic()
        where = str(task.place) if task.place else None
        self._emit(StepStarted(task.number, task.within, task.kind, task.title, task.key, where))
        try:
            self._check_bits(task)
            if self._lookup.confirmed(task.key):
                self._hit(task, began)
            else:
                self._perform(task, began)
        except ObuildError as error:
            if isinstance(error, StepFailed) and error.status not in _OTHER_CAUSES:
                error.hint = error.hint or task.if_it_fails
            self._failed(task, error, time.monotonic() - began)
            error.reported = True
            raise error.at(task.place) from error.__cause__

    def perform_again(self, task: Task) -> None:
        """Do a step that was taken for a hit, but of which the snapshot is gone."""
        with self._store.lock(task.key, self._cancel, lambda: None):
            self._execute(task, self._engine())

    def _check_bits(self, task: Task) -> None:
        """OBuilder's key of a copy says nothing of x bits, so the files of a snapshot that
        was made under it may have others. Then it is no hit; where the user asked for
        OBuilder's keys it is one, as there, but not in silence."""
        record = self._store.record(task.key) if task.kind == "copy" else None
        present = task.prepared.executables
        if record is None or record.executables == present:
            return
        if self._obuilder_keys:
            others = sorted({*record.executables} ^ {*present})
            self._emit(
                Warned(
                    f"{', '.join(others[:5])}: the executable bit is another in the stored copy",
                    str(task.place) if task.place else None,
                )
            )
            return
        for key in self._store.descendants(task.key):
            with self._store.lock(key, self._cancel, lambda: None):
                self._engine().delete([key])
                self._store.forget([key])
            self._lookup.withdraw(key)

    def _perform(self, task: Task, began: float) -> None:
        engine = self._engine()

        def waiting() -> None:
            self._emit(StepWaiting(task.number, "another build is doing this step"))

        with self._store.lock(task.key, self._cancel, waiting):
            if self._store.row(task.key) is not None and engine.exists(task.key):
                self._hit(task, began)
                return
            self._execute(task, engine)
        self.saved += 1
        self._emit(StepSaved(task.number, task.key, time.monotonic() - began))

    def _execute(self, task: Task, engine: Engine) -> None:
        began = time.monotonic()
        action = task.action()
        record = self._record(task)
        self._store.announce(task.key, task.parent, record)
        with self._store.open_log(task.key) as log:

            def output(data: bytes) -> None:
                log.write(data)
                self._emit(StepOutput(task.number, data))

            engine.execute(task.key, task.parent, action, output, self._cancel)
        done = replace(record, seconds=time.monotonic() - began)
        self._store.add(task.key, task.parent, done)

    def _record(self, task: Task) -> Record:
        return Record(
            key=task.key,
            kind=task.kind,
            title=task.title,
            preimage=task.preimage(),
            spec=self._spec,
            within="/".join(task.within),
            position=task.position,
            created="",
            seconds=0.0,
            settled=task.kind == "base",
            executables=task.prepared.executables,
            base=task.base,
        )

    def _hit(self, task: Task, began: float) -> None:
        self.hits.append(task.key)
        if self._replay:
            for data in self._store.read_log(task.key) or ():
                self._emit(StepOutput(task.number, data, replayed=True))
        self._emit(StepHit(task.number, task.key, time.monotonic() - began))

    def _failed(self, task: Task, error: ObuildError, seconds: float) -> None:
        process = error if isinstance(error, StepFailed) else None
        self._emit(
            StepFailedEvent(
                task.number,
                task.key,
                seconds,
                error.message,
                status=process.status if process else None,
                command=process.command if process else (),
                cancelled=isinstance(error, Cancelled),
                hint=error.hint,
                excerpt=task.place.excerpt() if task.place else None,
            )
        )
