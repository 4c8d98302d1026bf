"""Walking the stages of a build: each op becomes a step, each step is performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from threading import Event

from obuild.engine import Engine, Import, PutFiles, ResolvedImage, RunCommand
from obuild.errors import ImageError, ObuildError
from obuild.events import Emit, Heading, StageFinished, StageStarted, Warned
from obuild.executor.flags import Stop
from obuild.executor.inputs import Inputs, Prepared
from obuild.executor.perform import Performer, Task, late
from obuild.executor.retries import retried
from obuild.executor.sources import OtherBuild, open_build
from obuild.executor.stages import NestedBuild, SideBySide
from obuild.ir.manifest import Manifest
from obuild.ir.ops import Base, Op, Stage
from obuild.ir.printing import heading, heading_of_base, one_line
from obuild.ir.steps import CopyStep, RunStep
from obuild.keys import base_preimage, kept, key_of, pinned
from obuild.platforms import Platform
from obuild.scope import Scope, apply, start
from obuild.source import Place
from obuild.store import Store
from obuild.values import Value, replace

__all__ = ["Ended", "Walk"]


class Ended(Value):
    """A stage that was built: the key of its last step, its last scope, its base's key."""

    key: str
    scope: Scope
    base: str


class Walk:
    """The way through one build. Each stage is walked by one thread."""

    def __init__(
        self,
        store: Store,
        engine: Callable[[], Engine],
        inputs: Inputs,
        platform: Platform,
        performer: Performer,
        emit: Emit,
        stop: Event,
    ):
        self.bases: dict[str, Task] = {}
        self._store = store
        self._engine = engine
        self._inputs = inputs
        self._platform = platform
        self._performer = performer
        self._emit = emit
        self._stop = stop
        self._numbers = count(1)
        self._beside = SideBySide(stop, threads=inputs.options.jobs > 1)

    def run(self, target: Stage) -> Ended:
        """Build everything. Raises the first thing that went wrong in any stage."""
        try:
            ended = self._stage(target, (), {})
        except BaseException as error:
            self._beside.fail(error)
            self._beside.join()
            raise
        self._beside.join()
        return ended

    def _stage(
        self, stage: Stage, within: tuple[str, ...], known: Mapping[str, NestedBuild]
    ) -> Ended:
        """``known`` are the builds that this stage may copy from, besides its own."""
        builds = self._begin_nested(stage, within, known)
        base = key = self._base(stage.base, within)
        scope = start(self._platform, self._inputs.options.network)
        for position, op in enumerate(stage.ops, 1):
            self._emit(Heading(within, heading(scope.workdir, op)))
            scope, step = apply(scope, op, self._inputs.secrets)
            if isinstance(step, CopyStep) and step.build is not None:
                key = self._copy_from(builds[step.build], op, step, key, base, within, position)
            elif step is not None:
                prepared = self._inputs.prepare(key, step)
                assert prepared is not None, "only a copy from a build has no key yet"
                task = self._task(op, step, prepared, key, base, within, position)
                self._performer.perform(task)
                key = task.key
        return Ended(key, scope, base)

    def _begin_nested(
        self, stage: Stage, within: tuple[str, ...], known: Mapping[str, NestedBuild]
    ) -> Mapping[str, NestedBuild]:
        builds = dict(known)
        if self._beside.threads:
            # A display that keeps the order of the text must hear of all of them first.
            for name, _ in stage.builds:
                self._emit(StageStarted((*within, name)))
        for name, nested in stage.builds:
            work = self._work(nested, (*within, name), dict(builds))
            builds[name] = self._beside.begin(name, work)
        return builds

    def _work(
        self, stage: Stage, within: tuple[str, ...], builds: Mapping[str, NestedBuild]
    ) -> Callable[[], str]:
        def work() -> str:
            if not self._beside.threads:
                self._emit(StageStarted(within))
            key = self._stage(stage, within, builds).key
            self._emit(StageFinished(within))
            return key

        return work

    def _copy_from(
        self,
        build: NestedBuild,
        op: Op,
        step: CopyStep,
        parent: str,
        base: str,
        within: tuple[str, ...],
        position: int,
    ) -> str:
        source = build.key(self._stop)
        stop = Stop(self._stop)
        with open_build(self._store, self._engine, self._inputs, source, step, stop) as other:

            def patiently(
                read: Callable[[], tuple[Manifest, ...]], reopen: Callable[[], None]
            ) -> tuple[Manifest, ...]:
                return retried(
                    read, self._say_at(step.place), stop, self._inputs.options.pauses, reopen
                )

            try:
                manifests = other.manifests(lambda: self._performer.turn(stop), patiently)
            except ObuildError as error:
                raise late(stop, error).at(step.place) from error.__cause__
            prepared = self._inputs.prepare(parent, step, manifests)
            assert prepared is not None, "its manifests are known"
            task = self._task(op, step, prepared, parent, base, within, position, other, stop)
            self._performer.perform(task)
        return task.key

    def _task(
        self,
        op: Op,
        step: RunStep | CopyStep,
        prepared: Prepared,
        parent: str,
        base: str,
        within: tuple[str, ...],
        position: int,
        other: OtherBuild | None = None,
        stop: Stop | None = None,
    ) -> Task:
        secrets = step.secrets if isinstance(step, RunStep) else ()

        def action() -> RunCommand | PutFiles:
            if isinstance(step, RunStep):
                return RunCommand(step, self._inputs.options.limits)
            if other is not None:
                return PutFiles(step.destination, other.files(prepared.manifests))
            files = self._inputs.context.files(prepared.manifests, step.destination, step.user)
            return PutFiles(step.destination, files)

        return Task(
            number=next(self._numbers),
            within=within,
            position=position,
            kind="run" if isinstance(step, RunStep) else "copy",
            title=one_line(op),
            place=op.place,
            prepared=prepared,
            preimage=lambda: kept(prepared.preimage, secrets, self._store.secret_key()),
            parent=parent,
            base=base,
            action=action,
            stop=stop or Stop(self._stop),
            if_it_fails=_isolated(step),
        )

    def _base(self, written: Base, within: tuple[str, ...]) -> str:
        base = self._inputs.base(written)
        self._emit(Heading(within, heading_of_base(base)))
        number = next(self._numbers)
        options = self._inputs.options
        stop = Stop(self._stop)
        found: ResolvedImage | None = None
        if base.resolve or options.pin or options.pull:
            found = self._resolve_patiently(base, number, stop, pull=options.pull)
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
            stop=stop,
        )
        self.bases[task.key] = task
        self._performer.perform(task)
        return task.key

    def _resolve_patiently(
        self, base: Base, number: int, stop: Stop, *, pull: bool
    ) -> ResolvedImage:
        """As ``_resolve``, for what is asked before there is a step, which has tries itself."""

        def resolve() -> ResolvedImage:
            return self._resolve(base, number, pull=pull)

        return retried(resolve, self._say_at(base.place), stop, self._inputs.options.pauses)

    def _say_at(self, place: Place | None) -> Callable[[str], None]:
        return lambda what: self._emit(Warned(what, str(place) if place else None))

    def _resolve(self, base: Base, number: int, *, pull: bool) -> ResolvedImage:
        try:
            return self._engine().resolve(base.image, base.platform, self._emit, number, pull=pull)
        except ImageError as error:
            raise error.at(base.place) from error.__cause__


def _isolated(step: RunStep | CopyStep) -> str | None:
    """What to say of a command that failed without a network."""
    if isinstance(step, CopyStep) or step.network not in ((), ("none",)):
        return None
    return "this run had no network; (network host) in the run, or --network, gives it one"


def _pinned(base: Base, found: ResolvedImage) -> str:
    if found.digest is None:
        raise ImageError(
            f"the image {base.image} was never in a registry: it has no digest to pin",
            place=base.place,
            hint="push it to a registry and pull it from there, or build without --pin",
        )
    return pinned(base.image, found.digest)
