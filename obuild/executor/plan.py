"""The plan: every step of a build with its key, as far as it follows from the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from obuild.engine import ResolvedImage
from obuild.errors import BuildError, ObuildError
from obuild.executor.inputs import Inputs, Prepared
from obuild.ir.manifest import Manifest
from obuild.ir.ops import Base, Build, Op, Stage
from obuild.ir.printing import one_line
from obuild.ir.steps import CopyStep, RunStep
from obuild.keys import base_preimage, key_of, pinned
from obuild.platforms import Platform
from obuild.scope import Scope, apply, start
from obuild.source import Place
from obuild.values import Value, field, replace

__all__ = ["Find", "Plan", "PlannedStep", "plan"]


class PlannedStep(Value):
    """A step as far as it is known. ``reason`` says why ``key`` is not, where it is None.

    ``position`` is that of its op in its stage, 0 for the base; ``parent`` the key of the
    step before it; ``step`` is there for runs and copies, ``base`` for bases,
    ``prepared`` where the key is.
    """

    within: tuple[str, ...]
    kind: str
    title: str
    key: str | None
    reason: str | None = None
    place: Place | None = field(default=None, compare=False)
    position: int = 0
    parent: str | None = None
    step: RunStep | CopyStep | None = field(default=None, compare=False, repr=False)
    prepared: Prepared | None = field(default=None, compare=False, repr=False)
    base: Base | None = field(default=None, compare=False, repr=False)


class Plan(Value):
    """All steps in the order in which they run, or those before ``error``."""

    steps: tuple[PlannedStep, ...]
    target: str | None
    error: ObuildError | None = None


Find = Callable[[Base], ResolvedImage | None]
"""What a base is that counts by its digest, as far as that is known."""


def plan(build: Build, inputs: Inputs, platform: Platform, find: Find = lambda _: None) -> Plan:
    """What follows from the inputs; nothing is run. No store is asked, nor an engine, unless
    ``find`` does."""
    planner = _Planner(inputs, platform, find)
    try:
        target = planner.stage(build.target, (), {})
    except BuildError as error:
        return Plan(tuple(planner.steps), None, error)
    return Plan(tuple(planner.steps), target)


class _Planner:
    def __init__(self, inputs: Inputs, platform: Platform, find: Find):
        self.steps: list[PlannedStep] = []
        self._find = find
        self._inputs = inputs
        self._platform = platform

    def stage(
        self, stage: Stage, within: tuple[str, ...], known: Mapping[str, str | None]
    ) -> str | None:
        """``known`` are the keys of the builds that may be copied from, by name."""
        builds = dict(known)
        for name, nested in stage.builds:
            builds[name] = self.stage(nested, (*within, name), builds)
        key = self._base(stage.base, within)
        scope = start(self._platform, self._inputs.options.network)
        for position, op in enumerate(stage.ops, 1):
            scope, key = self._op(scope, op, key, within, position, builds)
        return key

    def _base(self, written: Base, within: tuple[str, ...]) -> str | None:
        base = self._inputs.base(written)
        options = self._inputs.options
        key = reason = prepared = identity = None
        resolved = base.resolve or options.pin or options.pull
        found = self._find(base) if resolved and not options.pull else None
        if found is not None:
            identity = found.digest or (found.id if base.resolve else None)
            if identity is not None and not base.resolve:
                base = replace(base, image=pinned(base.image, identity))
        if resolved and identity is None:
            reason = "the digest of the image is found when the build runs"
            if found is not None:
                reason = "the image was never in a registry: it has no digest to pin"
        else:
            preimage = base_preimage(base, identity)
            key = key_of(preimage)
            prepared = Prepared(key, preimage)
        self.steps.append(
            PlannedStep(
                within,
                "base",
                one_line(base),
                key,
                reason,
                written.place,
                prepared=prepared,
                base=base,
            )
        )
        return key

    def _op(
        self,
        scope: Scope,
        op: Op,
        parent: str | None,
        within: tuple[str, ...],
        position: int,
        builds: Mapping[str, str | None],
    ) -> tuple[Scope, str | None]:
        scope, step = apply(scope, op, self._inputs.secrets)
        if step is None:
            return scope, parent
        prepared: Prepared | None = None
        reason = "the key of the step before it is not known"
        if parent is not None:
            prepared = self._inputs.prepare(parent, step, self._manifests(step, builds))
            if isinstance(step, CopyStep) and step.build is not None:
                reason = f"the files of the build {step.build} are known when it has run"
        key = prepared.key if prepared else None
        kind = "copy" if isinstance(step, CopyStep) else "run"
        self.steps.append(
            PlannedStep(
                within,
                kind,
                one_line(op),
                key,
                None if key else reason,
                op.place,
                position,
                parent,
                step,
                prepared,
            )
        )
        return scope, key

    def _manifests(
        self, step: RunStep | CopyStep, builds: Mapping[str, str | None]
    ) -> tuple[Manifest, ...] | None:
        if isinstance(step, RunStep) or step.build is None:
            return None
        source = builds[step.build]
        return None if source is None else self._inputs.manifests_of(source, step)
