"""Finding out what is there already, with one small question to the engine at most.

The store's rows are its index and the engine is the truth. As long as a stage's steps have
rows, only the last of them need be asked for: a build goes on from it and never looks at
those before. If any such image is missing, nothing is taken for granted: the engine is
opened, which puts rows and images right, and every step is looked at on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from obuild.executor.inputs import Inputs
from obuild.executor.plan import PlannedStep, plan
from obuild.ir.ops import Build
from obuild.platforms import Platform
from obuild.store import Store

__all__ = ["Glance", "Lookup"]

Glance = Callable[[Sequence[str]], list[bool] | None]
"""Keys to whether each has a snapshot; None if this needs the engine."""


class Lookup:
    """The keys that are known to be stored. ``steps`` is the plan, once it was looked up."""

    def __init__(self, store: Store, glance: Glance):
        self._store = store
        self._glance = glance
        self._confirmed: set[str] = set()
        self.steps: tuple[PlannedStep, ...] = ()

    def prime(self, build: Build, inputs: Inputs, platform: Platform) -> None:
        """Look up all keys that follow from the inputs alone.

        An error in the plan is left for the build to meet where it comes to it.
        """
        self.steps = plan(build, inputs, platform).steps
        if self._store.stale():
            return  # somebody died here: the engine has leftovers to be removed
        chains: dict[tuple[str, ...], list[str]] = {}
        ended: set[tuple[str, ...]] = set()
        for step in self.steps:
            if step.within in ended:
                continue
            if step.key is None or self._store.row(step.key) is None:
                ended.add(step.within)
            else:
                chains.setdefault(step.within, []).append(step.key)
        last = [chain[-1] for chain in chains.values()]
        if last and (present := self._glance(last)) is not None and all(present):
            keys = [key for chain in chains.values() for key in chain]
            parents = {key: parent for chain in chains.values() for parent, key in pairwise(chain)}
            # Marked as used at once, so that none is pruned under this build; one that went
            # since the rows were read is missed here.
            if not self._store.use(keys, parents):
                self._confirmed.update(keys)

    def withdraw(self, key: str) -> None:
        """The snapshot is gone, or is not what it should be."""
        self._confirmed.discard(key)

    def confirmed(self, key: str) -> bool:
        """Whether the key is stored for certain. False means: ask the engine."""
        return key in self._confirmed
