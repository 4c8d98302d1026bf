"""One step: take it from the store, or do it under its key's lock and keep it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, TypeVar

from obuild.engine import Action, Engine
from obuild.errors import BuildError, Cancelled, ObuildError, StepFailed, StoreError
from obuild.events import (
    Emit,
    StepExplained,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
    Warned,
)
from obuild.events import StepFailed as StepFailedEvent
from obuild.executor.blanking import Blanking
from obuild.executor.flags import Stop
from obuild.executor.following import Following
from obuild.executor.inputs import Options, Prepared
from obuild.executor.lookup import Lookup
from obuild.executor.retries import retried
from obuild.source import Place
from obuild.store import Record, Store
from obuild.values import Value, replace

if TYPE_CHECKING:
    from obuild.executor.explanation import Explainer

__all__ = ["Performer", "Task", "late"]

_T = TypeVar("_T")


_OTHER_CAUSES = (126, 127, 137)
"""Not executable, not found, killed: no network would have helped."""
_LOOK = 0.1


class Task(Value):
    """A step with all that is needed to do it, to name it and to record it.

    ``preimage`` makes its text as it may be stored. ``parent`` is the key of the snapshot that
    it stands on, ``base`` that of the stage's base; both None for a base itself. ``stop``
    ends it early. ``if_it_fails`` is what a user should then be told of.
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
    stop: Stop
    if_it_fails: str | None = None

    @property
    def key(self) -> str:
        return self.prepared.key

    @property
    def executables(self) -> tuple[str, ...]:
        return self.prepared.executables


class Performer:
    """Does the steps of one build, from several threads; counts hits and saved steps.

    ``secrets`` are all values that were given: none of them is shown or logged.
    """

    def __init__(
        self,
        store: Store,
        engine: Callable[[], Engine],
        lookup: Lookup,
        emit: Emit,
        *,
        spec: str,
        options: Options,
        secrets: Iterable[bytes],
    ):
        self.saved = 0
        self._store = store
        self._engine = engine
        self._lookup = lookup
        self._emit = emit
        self._spec = spec
        self._options = options
        self._secrets = tuple(secrets)
        self._turns = Semaphore(options.jobs)
        self._lock = Lock()
        self._hits: list[Task] = []
        self._explainer: Explainer | None = None

    @property
    def hits(self) -> int:
        return len(self._hits)

    def note_hits(self) -> None:
        """Tell the store which snapshots were used, and at which places of the spec."""
        self._store.use([task.key for task in self._hits])
        places = [("/".join(t.within), t.position, t.key) for t in self._hits]
        if places:
            self._store.note_places(self._spec, places)

    def perform(self, task: Task) -> None:
        """Raises what went wrong, with the place of the op."""
        if task.stop.is_set():
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
        except ObuildError as raised:
            error = late(task.stop, raised)
            if isinstance(error, StepFailed) and error.status not in _OTHER_CAUSES:
                error.hint = error.hint or task.if_it_fails
            self._failed(task, error, time.monotonic() - began)
            error.reported = True
            raise error.at(task.place) from raised.__cause__

    def perform_again(self, task: Task) -> None:
        """Do a step that was taken for a hit, but of which the snapshot is gone."""
        with self._store.lock(task.key, task.stop, lambda: None):
            self._execute(task, self._engine())

    @contextmanager
    def turn(self, stop: Stop) -> Iterator[None]:
        """Only so many steps keep the engine busy at a time; the time of the step begins."""
        while not self._turns.acquire(timeout=_LOOK):
            if stop.is_set():
                raise Cancelled("the build was cancelled")
        try:
            stop.begin(self._options.step_timeout)
            yield
        finally:
            self._turns.release()

    def _check_bits(self, task: Task) -> None:
        """OBuilder's key of a copy says nothing of x bits, so the files of a snapshot that
        was made under it may have others. Then it is no hit; where the user asked for
        OBuilder's keys it is one, as there, but not in silence."""
        record = self._store.record(task.key) if task.kind == "copy" else None
        present = task.prepared.executables
        if record is None or record.executables == present:
            return
        if self._options.obuilder_keys:
            others = sorted({*record.executables} ^ {*present})
            self._emit(
                Warned(
                    f"{', '.join(others[:5])}: the executable bit is another in the stored copy",
                    str(task.place) if task.place else None,
                )
            )
            return
        self._engine()
        # Another stage, or another build, may be making it anew right now: whoever has the
        # lock looks again.
        with self._store.lock(task.key, task.stop, lambda: None):
            record = self._store.record(task.key)
            if record is None or record.executables == present:
                return
            if self._store.beside():
                raise StoreError(
                    "the stored copy has other executable bits, and must be made anew, but"
                    " another build runs on this store and may stand on it",
                    hint="wait until it has ended, or use --obuilder-keys",
                )
            for key in self._store.descendants(task.key):
                if key == task.key:
                    self._drop(key)
                else:
                    with self._store.lock(key, task.stop, lambda: None):
                        self._drop(key)

    def _drop(self, key: str) -> None:
        """The caller holds its lock."""
        self._engine().delete([key])
        self._store.forget([key], "replaced for other x bits")
        self._lookup.withdraw(key)

    def _perform(self, task: Task, began: float) -> None:
        engine = self._engine()
        following = Following(self._store, task.key, task.number, self._emit)
        try:
            with self._store.lock(task.key, task.stop, following.begin, following.go_on):
                # The engine first, as OBuilder does: `-v` then shows the same questions.
                there = self._patiently(task, lambda: engine.exists(task.key))
                if there and self._store.row(task.key) is not None:
                    following.finish()
                    # Under the lock, so that it is not pruned under this build.
                    self._store.use(task.key, {task.key: task.parent} if task.parent else None)
                    self._hit(task, began, shown=following.shown)
                    return
                following.take_over()
                self._explain(task)
                with self.turn(task.stop):
                    self._try(task, engine)
                with self._lock:
                    self.saved += 1
                # Under the lock: it comes before the hit of whoever waits for this step.
                self._emit(StepSaved(task.number, task.key, time.monotonic() - began))
        finally:
            following.close()

    def _explain(self, task: Task) -> None:
        from obuild.executor.explanation import Explainer  # for what is not stored only

        with self._lock:
            if self._explainer is None:
                self._explainer = Explainer(self._store, self._spec, lambda: self._lookup.steps)
            self._explainer.met(self._hits)
        self._emit(StepExplained(task.number, self._explainer.reasons(task)))

    def _try(self, task: Task, engine: Engine) -> None:
        def put_right() -> None:
            engine.sweep(lambda name: name != task.key and self._store.alive(name))
            engine.delete([task.key])  # made by a commit of which nobody heard the end

        if self._store.record(task.key) is not None:
            # Announced, but without a row: whoever began it since this build was opened died.
            put_right()
        self._patiently(task, lambda: self._execute(task, engine), put_right)

    def _patiently(
        self, task: Task, work: Callable[[], _T], before: Callable[[], None] = lambda: None
    ) -> _T:
        def say(what: str) -> None:
            self._emit(Warned(what, str(task.place) if task.place else None))

        return retried(work, say, task.stop, self._options.pauses, before)

    def _execute(self, task: Task, engine: Engine) -> None:
        began = time.monotonic()
        action = task.action()
        record = self._record(task)
        self._store.announce(task.key, task.parent, record)
        blanking = Blanking(self._secrets)
        with self._store.open_log(task.key) as log:

            def show(data: bytes) -> None:
                if data:
                    log.write(data)
                    self._emit(StepOutput(task.number, data))

            def waiting(reason: str) -> None:
                self._emit(StepWaiting(task.number, reason))

            try:
                engine.execute(
                    task.key,
                    task.parent,
                    action,
                    lambda data: show(blanking.feed(data)),
                    task.stop,
                    waiting,
                )
            finally:
                show(blanking.end())
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

    def _hit(self, task: Task, began: float, *, shown: bool = False) -> None:
        with self._lock:
            self._hits.append(task)
        if self._options.replay and not shown:
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


def late(stop: Stop, error: ObuildError) -> ObuildError:
    """A step that its own deadline stopped has failed; nobody cancelled it."""
    limit = stop.overdue if isinstance(error, Cancelled) else None
    if limit is None:
        return error
    return BuildError(
        f"the step was not done after {limit:g} s, and was stopped",
        hint="--step-timeout sets the time that each step may take",
    )
