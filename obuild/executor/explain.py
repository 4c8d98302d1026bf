"""Explaining a build before it is run: what is stored, and why the rest is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from obuild.engine import ResolvedImage
from obuild.errors import EngineUnavailable
from obuild.events import NEVER_BUILT
from obuild.executor.explanation import Explainer
from obuild.executor.lookup import Glance
from obuild.executor.plan import Plan, PlannedStep
from obuild.ir.ops import Base
from obuild.keys.files import changed_bits
from obuild.store import Store
from obuild.values import Value, field

__all__ = ["Explained", "Explanation", "Looks", "explain", "explain_without"]


class Explanation(Value):
    """A step and its verdict: ``hit``, ``miss``, or ``unknown`` where its key is not known
    yet. ``reasons`` say why it is no hit; those of a hit are remarks. ``same``: it is a hit
    because an earlier step of the build, which would be run, is the same."""

    number: int
    step: PlannedStep
    verdict: str
    reasons: tuple[str, ...] = ()
    same: bool = False


class Looks(Value):
    """Small questions to the engine, each without opening it; all may raise
    ``EngineUnavailable``. ``image`` tells of an image by its name and platform, ``snapshot``
    of a key's."""

    glance: Glance
    image: Callable[[str, str | None], ResolvedImage | None]
    snapshot: Callable[[str], ResolvedImage | None]

    def find(self, base: Base) -> ResolvedImage | None:
        """What a base is, if the engine has it and can be asked."""
        try:
            return self.image(base.image, base.platform)
        except EngineUnavailable:
            return None


class Explained(Value):
    """All steps of a plan. ``unasked`` says why the engine was not asked, if it was not."""

    steps: tuple[Explanation, ...]
    unasked: str | None = None


def explain(
    plan: Plan,
    store: Store,
    looks: Looks,
    preimage: Callable[[PlannedStep], str],
    *,
    spec: str,
    obuilder_keys: bool,
) -> Explained:
    """What a build by ``plan`` would find stored in ``store``.

    The engine is asked by ``looks`` at most; where it cannot be, the store alone is believed.
    ``preimage`` makes the text of a step's that is kept. Nothing is changed.
    """
    stored, unasked = _stored(plan, store, looks.glance)
    explainer = Explainer(store, spec, lambda: plan.steps)
    found = []
    dropped: set[str] = set()
    numbers: dict[str, int] = {}
    for number, step in enumerate(plan.steps, 1):
        if step.key is None:
            found.append(_unknown(number, step))
            continue
        earlier = numbers.setdefault(step.key, number)
        if earlier != number and step.key not in stored:
            found.append(_repeated(number, step, earlier))
            continue
        asked = _asked(number, step, step.key, preimage)
        bits = _bits(store, asked) if step.key in stored else ()
        if (bits and not obuilder_keys) or step.parent in dropped:
            dropped.add(step.key)  # a build makes it anew, with all that was built on it
        if step.key in stored and step.key not in dropped:
            explainer.met([asked])
            remarks = bits if unasked is not None else bits + _rebuilt(step, step.key, looks)
            found.append(Explanation(number, step, "hit", remarks))
        else:
            found.append(Explanation(number, step, "miss", explainer.reasons(asked)))
    return Explained(tuple(found), unasked)


class _Asked(Value):
    """A planned step whose key is known, as the explainer takes it."""

    number: int
    within: tuple[str, ...]
    position: int
    kind: str
    title: str
    key: str
    parent: str | None
    preimage: Callable[[], str] = field(compare=False, repr=False)
    executables: tuple[str, ...] = ()


def explain_without(plan: Plan, reason: str = NEVER_BUILT) -> Explained:
    """The same where there is no store yet; or, with a ``reason``, no database any more."""
    found = []
    numbers: dict[str, int] = {}
    for number, step in enumerate(plan.steps, 1):
        if step.key is None:
            found.append(_unknown(number, step))
        elif step.key in numbers:
            found.append(_repeated(number, step, numbers[step.key]))
        else:
            numbers[step.key] = number
            found.append(Explanation(number, step, "miss", (reason,)))
    return Explained(tuple(found))


def _repeated(number: int, step: PlannedStep, earlier: int) -> Explanation:
    """A step that an earlier one is too: it is stored when the build comes to it."""
    return Explanation(number, step, "hit", (f"the same as step {earlier}",), same=True)


def _unknown(number: int, step: PlannedStep) -> Explanation:
    return Explanation(number, step, "unknown", (step.reason,) if step.reason else ())


def _asked(
    number: int, step: PlannedStep, key: str, preimage: Callable[[PlannedStep], str]
) -> _Asked:
    return _Asked(
        number,
        step.within,
        step.position,
        step.kind,
        step.title,
        key,
        step.parent,
        lambda: preimage(step),
        step.prepared.executables if step.prepared else (),
    )


def _bits(store: Store, step: _Asked) -> tuple[str, ...]:
    """OBuilder's key of a copy says nothing of x bits: what the stored one has other ones of."""
    record = store.record(step.key) if step.kind == "copy" else None
    if record is None:
        return ()
    return tuple(changed_bits(record.executables, step.executables))


def _rebuilt(step: PlannedStep, key: str, looks: Looks) -> tuple[str, ...]:
    """A base that counts by its name is a hit, also where that names another image by now."""
    if step.base is None or step.base.resolve:
        return ()
    try:
        used, now = looks.snapshot(key), looks.image(step.base.image, step.base.platform)
    except EngineUnavailable:
        return ()
    if used is None or now is None or used.id == now.id:
        return ()
    return (f"base: {step.base.image} was rebuilt, but its name counts, not its digest (--pin)",)


def _stored(plan: Plan, store: Store, glance: Glance) -> tuple[set[str], str | None]:
    """The keys that are stored, and why the engine was not asked if it was not.

    As in a build, the last step of a stage's beginning stands for those before it; only if
    one such image is missing, each is asked for.
    """
    keys = [step.key for step in plan.steps if step.key is not None]
    rows = {key for key in keys if store.row(key) is not None}
    beginnings: dict[tuple[str, ...], list[str]] = {}
    ended: set[tuple[str, ...]] = set()
    for step in plan.steps:
        if step.key not in rows or step.within in ended:
            ended.add(step.within)
        elif step.key is not None:
            beginnings.setdefault(step.within, []).append(step.key)
    begun = {key for beginning in beginnings.values() for key in beginning}
    last = {beginning[-1] for beginning in beginnings.values()}
    present, unasked = _ask(glance, sorted(last | (rows - begun)))
    if unasked is not None:
        return rows, unasked
    if last <= present:
        return present | begun, None
    present, unasked = _ask(glance, sorted(rows))
    return (rows if unasked is not None else present), unasked


def _ask(glance: Glance, keys: Sequence[str]) -> tuple[set[str], str | None]:
    """Which of the keys have images."""
    try:
        found = glance(keys)
    except EngineUnavailable as error:
        return set(), error.message
    if found is None:
        return set(), "it is reached by ssh or TLS, which takes more than a glance"
    return {key for key, there in zip(keys, found, strict=True) if there}, None
