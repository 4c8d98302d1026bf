"""The plan: every step of a build with its key, as far as it follows from the inputs."""

from __future__ import annotations

from obuild.errors import BuildError, ObuildError
from obuild.executor.inputs import Inputs, Prepared
from obuild.ir.ops import Base, Build, Op, Stage
from obuild.ir.printing import one_line
from obuild.ir.steps import CopyStep
from obuild.keys import base_preimage, key_of
from obuild.platforms import Platform
from obuild.scope import Scope, apply, start
from obuild.source import Place
from obuild.values import Value, field

__all__ = ["Plan", "PlannedStep", "plan"]


class PlannedStep(Value):
    """A step as far as it is known. ``reason`` says why ``key`` is not, where it is None."""

    within: tuple[str, ...]
    kind: str
    title: str
    key: str | None
    reason: str | None = None
    place: Place | None = field(default=None, compare=False)


class Plan(Value):
    """All steps in the order in which they run, or those before ``error``."""

    steps: tuple[PlannedStep, ...]
    target: str | None
    error: ObuildError | None = None


def plan(build: Build, inputs: Inputs, platform: Platform) -> Plan:
    """What follows from the inputs; nothing is run, no store or engine is asked."""
    planner = _Planner(inputs, platform)
    try:
        target = planner.stage(build.target, ())
    except BuildError as error:
        return Plan(tuple(planner.steps), None, error)
    return Plan(tuple(planner.steps), target)


class _Planner:
    def __init__(self, inputs: Inputs, platform: Platform):
        self.steps: list[PlannedStep] = []
        self._inputs = inputs
        self._platform = platform

    def stage(self, stage: Stage, within: tuple[str, ...]) -> str | None:
        for name, nested in stage.builds:
            self.stage(nested, (*within, name))
        key = self._base(stage.base, within)
        scope = start(self._platform, self._inputs.options.network)
        for op in stage.ops:
            scope, key = self._op(scope, op, key, within)
        return key

    def _base(self, written: Base, within: tuple[str, ...]) -> str | None:
        base = self._inputs.base(written)
        options = self._inputs.options
        key = reason = None
        if base.resolve or options.pin or options.pull:
            reason = "the digest of the image is found when the build runs"
        else:
            key = key_of(base_preimage(base))
        self.steps.append(PlannedStep(within, "base", one_line(base), key, reason, written.place))
        return key

    def _op(
        self, scope: Scope, op: Op, parent: str | None, within: tuple[str, ...]
    ) -> tuple[Scope, str | None]:
        scope, step = apply(scope, op, self._inputs.secrets)
        if step is None:
            return scope, parent
        prepared: Prepared | None = None
        reason = "the key of the step before it is not known"
        if parent is not None:
            prepared = self._inputs.prepare(parent, step)
            if isinstance(step, CopyStep) and step.build is not None:
                reason = f"the files of the build {step.build} are known when it has run"
        key = prepared.key if prepared else None
        kind = "copy" if isinstance(step, CopyStep) else "run"
        self.steps.append(
            PlannedStep(within, kind, one_line(op), key, None if key else reason, op.place)
        )
        return scope, key
