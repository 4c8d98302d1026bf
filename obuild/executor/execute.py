"""Running a build: walk its stages, take what is stored, do what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

from obuild.engine import Action, Cancel, Engine, Import, PutFiles, ResolvedImage, RunCommand
from obuild.errors import EngineError, ImageError, ScriptError
from obuild.events import BuildFinished, Emit, Heading, StageFinished, StageStarted
from obuild.executor.inputs import Inputs, Prepared
from obuild.executor.lookup import Glance, Lookup
from obuild.executor.opening import open_engine
from obuild.executor.perform import Performer, Task
from obuild.executor.seal import seal
from obuild.ir.ops import Base, Build, Copy, Op, Run, Stage
from obuild.ir.printing import heading, heading_of_base, one_line
from obuild.ir.steps import CopyStep, RunStep
from obuild.keys import base_preimage, kept, key_of, pinned
from obuild.platforms import Platform, by_os
from obuild.scope import Scope, apply, start
from obuild.store import Store
from obuild.values import Value, replace

__all__ = ["Executor", "Result"]


class Result(Value):
    """``key`` names the snapshot of the last step, ``image_id`` the sealed image, if any."""

    key: str
    image_id: str | None = None


class Executor:
    """Runs one build. ``engine`` makes the engine, at the first step that needs it; it is
    given the name of the visit, which is locked in the store while the engine is used."""

    def __init__(
        self,
        store: Store,
        engine: Callable[[str], Engine],
        glance: Glance,
        inputs: Inputs,
        emit: Emit,
        cancel: Cancel,
        *,
        spec: str,
    ):
        self._store = store
        self._make_engine = engine
        self._inputs = inputs
        self._platform: Platform | None = None
        self._emit = emit
        self._cancel = cancel
        self._opened: Engine | None = None
        self._ending = ExitStack()
        self._lookup = Lookup(store, glance)
        self._performer = Performer(
            store,
            self.engine,
            self._lookup,
            emit,
            cancel,
            spec=spec,
            replay=inputs.options.replay,
            obuilder_keys=inputs.options.obuilder_keys,
        )
        self._steps = 0
        self._bases: dict[str, Task] = {}

    def engine(self) -> Engine:
        """The engine, opened at the first call: leftovers gone, the index put right."""
        if self._opened is None:
            from secrets import token_hex  # a cached build needs no visit

            # A lock for as long as the engine is used: whoever finds it abandoned knows that
            # something may have been left behind, though no step was in work.
            visit = f"visit-{token_hex(8)}"
            self._ending.enter_context(self._store.lock(visit, Event(), lambda: None))
            engine = open_engine(self._store, self._make_engine(visit), self._emit, visit)
            self._ending.callback(engine.close)
            self._opened = engine
            guest_os = self._opened.capabilities.guest_os
            if self._platform is not None and by_os(guest_os) != self._platform:
                raise EngineError(
                    f"the engine has {guest_os} guests now, but had {self._platform.os} ones",
                    hint="run this again",
                )
        return self._opened

    def platform(self) -> Platform:
        """The guest's platform: as the store remembers it, else as the engine says."""
        if self._platform is None:
            known = self._store.guest_os or self.engine().capabilities.guest_os
            self._platform = by_os(known)
        return self._platform

    def run(self, build: Build) -> Result:
        """Build everything; the last event is ``BuildFinished``, whatever happens."""
        began = time.monotonic()
        key: str | None = None
        try:
            _check(build)
            self._lookup.prime(build, self._inputs, self.platform())
            last, scope, base = self._stage(build.target, ())
            image_id = self._finish(last, scope, base)
            key = last
            return Result(key, image_id)
        finally:
            hits = self._performer.hits
            self._store.use(hits)
            seconds = time.monotonic() - began
            self._emit(BuildFinished(key, seconds, len(hits), self._performer.saved))

    def close(self) -> None:
        """End the engine's work in the background. Raises what went wrong there."""
        self._ending.close()

    def _finish(self, key: str, scope: Scope, base: str) -> str | None:
        """The result gets its base's configuration; the user's names get a sealed image."""
        if key != base and not self._is_settled(key):
            self._keep_base(base)
            # Who looks at the snapshot holds its lock, and never sees it half way.
            with self._store.lock(key, self._cancel, lambda: None):
                if not self._is_settled(key):
                    self.engine().restore(key, base)
                    self._store.set_settled(key)
        tags = self._inputs.options.tags
        if not tags:
            return None
        self._keep_base(base)
        return seal(self._store, self.engine(), key, base, scope, tags, self._cancel)

    def _is_settled(self, key: str) -> bool:
        record = self._store.record(key)
        return record is not None and record.settled

    def _keep_base(self, key: str) -> None:
        """A base that somebody removed is needed once more, for its configuration."""
        if not self.engine().exists(key):
            task = self._bases[key]
            self._performer.perform_again(task)

    def _stage(self, stage: Stage, within: tuple[str, ...]) -> tuple[str, Scope, str]:
        """Returns the key of the last step, the last scope, and the key of the base."""
        for name, nested in stage.builds:
            inner = (*within, name)
            self._emit(StageStarted(inner))
            self._stage(nested, inner)
            self._emit(StageFinished(inner))
        base = key = self._base(stage.base, within)
        scope = start(self.platform(), self._inputs.options.network)
        for position, op in enumerate(stage.ops, 1):
            self._emit(Heading(within, heading(scope.workdir, op)))
            scope, step = apply(scope, op, self._inputs.secrets)
            if step is not None:
                task = self._task(op, step, key, base, within, position)
                self._performer.perform(task)
                key = task.key
        return key, scope, base

    def _task(
        self,
        op: Op,
        step: RunStep | CopyStep,
        parent: str,
        base: str,
        within: tuple[str, ...],
        position: int,
    ) -> Task:
        prepared = self._inputs.prepare(parent, step)
        assert prepared is not None, "refused by _check"
        self._steps += 1
        secrets = step.secrets if isinstance(step, RunStep) else ()
        return Task(
            number=self._steps,
            within=within,
            position=position,
            kind="run" if isinstance(step, RunStep) else "copy",
            title=one_line(op),
            place=op.place,
            prepared=prepared,
            preimage=lambda: kept(prepared.preimage, secrets, self._store.secret_key()),
            parent=parent,
            base=base,
            action=lambda: self._action(step, prepared),
            if_it_fails=_isolated(step),
        )

    def _action(self, step: RunStep | CopyStep, prepared: Prepared) -> Action:
        if isinstance(step, RunStep):
            return RunCommand(step, self._inputs.options.limits)
        files = self._inputs.context.files(prepared.manifests, step.destination, step.user)
        return PutFiles(step.destination, files)

    def _base(self, written: Base, within: tuple[str, ...]) -> str:
        base = self._inputs.base(written)
        self._emit(Heading(within, heading_of_base(base)))
        self._steps += 1
        number = self._steps
        options = self._inputs.options
        found: ResolvedImage | None = None
        if base.resolve or options.pin or options.pull:
            found = self._resolve(base, number, pull=options.pull)
            if not base.resolve:
                base = replace(base, image=_pinned(base, found))
        preimage = base_preimage(base, (found.digest or found.id) if found else None)
        task = Task(
            number=number,
            within=within,
            position=0,
            kind="base",
            title=one_line(base),
            place=base.place,
            prepared=Prepared(key_of(preimage), preimage),
            preimage=lambda: kept(preimage, (), b""),
            parent=None,
            base=None,
            action=lambda: Import(found or self._resolve(base, number, pull=False)),
        )
        self._bases[task.key] = task
        self._performer.perform(task)
        return task.key

    def _resolve(self, base: Base, number: int, *, pull: bool) -> ResolvedImage:
        try:
            return self.engine().resolve(base.image, base.platform, self._emit, number, pull=pull)
        except ImageError as error:
            raise error.at(base.place) from error.__cause__


def _isolated(step: RunStep | CopyStep) -> str | None:
    """What to say of a command that failed without a network."""
    if isinstance(step, CopyStep) or step.network not in ((), ("none",)):
        return None
    return "this run had no network; (network host) in the run, or --network, gives it one"


def _check(build: Build) -> None:
    """Refuse what this version cannot do before anything is run."""
    for stage in build.target.walk():
        for op in stage.ops:
            if isinstance(op, Copy) and op.build is not None:
                raise _later(op, "copies from the build context only, not from another build")
            if isinstance(op, Run) and (op.cache or op.secrets):
                what = "caches" if op.cache else "secrets"
                raise _later(op, f"runs no commands with {what}")


def _later(op: Op, message: str) -> ScriptError:
    return ScriptError(
        f"this version of obuild {message}",
        place=op.place,
        hint="obuild plan tells the keys; to build it, use OBuilder on the same store",
    )


def _pinned(base: Base, found: ResolvedImage) -> str:
    if found.digest is None:
        raise ImageError(
            f"the image {base.image} was never in a registry: it has no digest to pin",
            place=base.place,
            hint="push it to a registry and pull it from there, or build without --pin",
        )
    return pinned(base.image, found.digest)
