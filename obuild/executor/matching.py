"""Which op of a stage is which op that the stage had before."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from obuild.executor.plan import PlannedStep
from obuild.store.records import Placed

__all__ = ["alike", "match"]

_ALIKE = 0.5
"""How much of the words of two ops must be the same for one to be the other, edited."""


def match(old: Sequence[Placed], new: Sequence[PlannedStep]) -> dict[int, Placed]:
    """The old step of each new one's position, where it has one.

    Equal ops in the same order are found first, then those at the same place between them
    that are of one kind, then equal ones that stand elsewhere. A base is matched by its place.
    """
    found: dict[int, Placed] = {}
    left: list[Placed] = []
    before = [(placed.kind, placed.title if placed.position else "") for placed in old]
    after = [(step.kind, step.title if step.position else "") for step in new]
    opcodes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for name, i, i_end, j, j_end in opcodes:
        if name == "equal":
            pairs = list(zip(old[i:i_end], new[j:j_end], strict=True))
        else:
            pairs = _edited(old[i:i_end], new[j:j_end])
        found.update((step.position, placed) for placed, step in pairs)
        left += [placed for placed in old[i:i_end] if placed not in [p for p, _ in pairs]]
    for step in new:
        if step.position not in found:
            moved = next((p for p in left if (p.kind, p.title) == (step.kind, step.title)), None)
            if moved is not None:
                left.remove(moved)
                found[step.position] = moved
    return found


def _edited(old: Sequence[Placed], new: Sequence[PlannedStep]) -> list[tuple[Placed, PlannedStep]]:
    """Pairs of ops that stand between the same two others."""
    if len(old) == len(new):
        return [(p, s) for p, s in zip(old, new, strict=True) if p.kind == s.kind]
    pairs: list[tuple[Placed, PlannedStep]] = []
    rest = list(old)
    for step in new:
        near = next((p for p in rest if alike(p.kind, p.title, step.title)), None)
        if near is not None and near.kind == step.kind:
            pairs.append((near, step))
            del rest[: rest.index(near) + 1]
    return pairs


def alike(kind: str, old: str, new: str) -> bool:
    """Whether one title may be the other, edited. The names of fields do not count."""
    if kind == "base":
        return _image(old) == _image(new)
    before, after = _words(old), _words(new)
    return len(before & after) >= _ALIKE * max(len(before), len(after))


def _words(title: str) -> set[str]:
    return {word.strip('()"') for word in title.split() if not word.startswith("(")}


def _image(title: str) -> str:
    """The image in ``(from IMAGE …)`` without its digest."""
    return title.removeprefix("(from ").partition(" ")[0].rstrip(")").partition("@")[0]
