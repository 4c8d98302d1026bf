"""Why a step is not taken from the store: what changed since it was last built.

A step is compared with the one that was last built or found at its place: the same spec,
stage and op. Ops move when others are inserted or taken out, so a stage's ops are laid beside
those that it had, as texts are compared line by line (``matching``). An op that has none to
be compared with is compared with the nearest step on the same snapshot.

Where a step changes, all after it do, as their keys hold its key. They tell the first of
the chain that really changed, and what they have changed themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from typing import Protocol

from obuild.events import NEVER_BUILT
from obuild.executor.matching import alike, match
from obuild.executor.plan import PlannedStep
from obuild.ir.steps import RunStep
from obuild.keys.difference import PARENT, changed_bits, differences
from obuild.keys.reading import atom, read_fields, shorten
from obuild.store import Record, Store
from obuild.store.records import Placed

__all__ = ["Asked", "Explainer"]

_Step = tuple[tuple[str, ...], str]
"""A step of the build: its stage's names, and its key."""

_VANISHED = "its image is gone from the engine"


class Asked(Protocol):
    """A step of a build, as the executor has it. ``number`` counts the steps from 1;
    ``preimage`` makes the text that is kept."""

    @property
    def number(self) -> int: ...
    @property
    def within(self) -> tuple[str, ...]: ...
    @property
    def position(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def preimage(self) -> Callable[[], str]: ...
    @property
    def executables(self) -> tuple[str, ...]: ...


class Explainer:
    """Explains the steps of one build of ``spec``. It may be used from several threads.

    ``steps`` gives the plan, once, when the first step is explained. The places that the
    store remembers are read then, before the build puts others there. Every step must be
    told, a hit to ``met`` and any other to ``reasons``, before those that stand on it.
    """

    def __init__(self, store: Store, spec: str, steps: Callable[[], Iterable[PlannedStep]]):
        self._store = store
        self._spec = spec
        self._steps = steps
        self._lock = RLock()
        # One key may stand in several stages, each time after other steps.
        self._met: dict[_Step, Asked] = {}
        self._own: dict[_Step, tuple[str, ...]] = {}
        self._before: dict[tuple[str, ...], dict[int, Placed]] | None = None
        self._keys_before: dict[str, Placed] = {}
        self._claimed: set[str] = set()
        self._planned: set[str] = set()
        """The keys of this build's own steps: what they are now is not what they were."""
        self._dropped: dict[str, int] = {}
        """What is made anew under its old key, by the number of the copy that it comes from."""
        self._secrets: dict[tuple[tuple[str, ...], int], dict[str, str]] = {}
        """The ids of secrets by their targets, of the steps that have some."""

    def met(self, steps: Iterable[Asked]) -> None:
        """These steps are stored. Nothing is read; it may be told twice."""
        with self._lock:
            self._met.update(((step.within, step.key), step) for step in steps)

    def reasons(self, step: Asked) -> tuple[str, ...]:
        """Why the step is not stored, a text each; at least one. Raises ``StoreError``."""
        with self._lock:
            self._load()
            this = step.within, step.key
            self._met[this] = step
            missing = self._missing(step)
            if missing is not None:
                self._own[this] = ()
                return missing
            old = self._old(step)
            found = (NEVER_BUILT,) if old is None else self._differences(old, step)
            told = own = tuple(reason for reason in found if reason != PARENT)
            if len(own) < len(found):
                known = {reason for key in self._chain(step) for reason in self._own.get(key, ())}
                told = tuple(reason for reason in own if reason not in known)
                first = self._first_below(step)
                if first is None:
                    own += (self._moved(old),)
                told += (own[-1] if first is None else f"because step {first} changed",)
            self._own[this] = own
            return told

    def _load(self) -> None:
        """Lay the ops of every stage beside those that it had when it was last built."""
        if self._before is not None:
            return
        stages: dict[tuple[str, ...], list[PlannedStep]] = {}
        for step in self._steps():
            stages.setdefault(step.within, []).append(step)
            if step.key is not None:
                self._planned.add(step.key)
            if isinstance(step.step, RunStep) and step.step.secrets:
                ids = {secret.target: secret.id for secret in step.step.secrets}
                self._secrets[step.within, step.position] = ids
        self._before = {}
        for within, steps in stages.items():
            old = self._store.placed(self._spec, "/".join(within))
            self._before[within] = matched = match(old, steps)
            self._keys_before.update((placed.key, placed) for placed in old)
            self._claimed.update(placed.key for placed in matched.values())

    def _last(self, step: Asked) -> Placed | None:
        """What the step was when it was last built."""
        assert self._before is not None
        return self._before.get(step.within, {}).get(step.position)

    def _missing(self, step: Asked) -> tuple[str, ...] | None:
        """Why a step is not stored of which nothing has changed; None if something has."""
        if step.parent in self._dropped:
            self._dropped[step.key] = number = self._dropped[step.parent]
            return (f"because step {number} changed",)
        same = self._store.any_record(step.key)
        if same is not None and step.kind == "copy" and same.executables != step.executables:
            self._dropped[step.key] = step.number
            return tuple(changed_bits(same.executables, step.executables))
        if same is not None and same.gone:
            return (_went(same.gone),)
        return (_VANISHED,) if self._store.row(step.key) is not None else None

    def _old(self, step: Asked) -> Record | None:
        """With what the step is compared."""
        last = self._last(step)
        if last is not None and last.key != step.key:
            old = self._store.any_record(last.key)
            if old is not None:
                return old
        return self._nearest(step)

    def _differences(self, old: Record, step: Asked) -> tuple[str, ...]:
        return differences(
            old.preimage,
            step.preimage(),
            secrets=self._secrets.get((step.within, step.position)),
            executables=(old.executables, step.executables),
        )

    def _nearest(self, step: Asked) -> Record | None:
        """The step on the same snapshot that has the fewest differences, and looks alike."""
        found = [
            (len(self._differences(record, step)), record)
            for record in self._store.records_on(step.parent)
            if record.key not in self._planned and record.kind == step.kind
            if record.key not in self._claimed and alike(record.kind, record.title, step.title)
        ]
        return min(found, key=lambda pair: pair[0], default=(0, None))[1]

    def _chain(self, step: Asked) -> Iterable[_Step]:
        """The steps below, the nearest first."""
        parent = step.parent
        while parent is not None:
            this = step.within, parent
            below = self._met.get(this)
            if below is None:
                return
            yield this
            parent = below.parent

    def _first_below(self, step: Asked) -> int | None:
        """The number of the earliest step below that changed by itself."""
        changed = [self._met[key].number for key in self._chain(step) if self._changed(key)]
        return changed[-1] if changed else None

    def _moved(self, old: Record | None) -> str:
        """Why the snapshot below is another, if no step below has changed."""
        fields = read_fields(old.preimage) if old is not None else None
        below = self._keys_before.get(atom(fields or {}, "base"))
        if below is not None and below.key not in self._claimed:
            return f"the step before it was taken out: {shorten(below.title)}"
        return "the step before it is another"

    def _changed(self, key: _Step) -> bool:
        """Whether a step is another than last time by itself, or, of one that is stored, at
        all."""
        if key in self._own:
            return bool(self._own[key])
        last = self._last(self._met[key])
        return last is None or last.key != key[1]


def _went(gone: str) -> str:
    """``prune on TIME`` is what somebody asked for; anything else is said as it is."""
    return f"evicted by {gone}" if gone.startswith(("prune", "delete", "clean")) else gone
