"""What a store takes on the disk, each byte counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from obuild.engine import CacheVolume, Engine
from obuild.source import readable
from obuild.store import Store
from obuild.values import Value

__all__ = ["StepSize", "Usage", "measure"]


class StepSize(Value):
    """Bytes of one step: ``own`` beyond the step it was built on, which has ``shared``;
    ``total`` is both. ``base``: it is the user's own image under another name."""

    key: str
    own: int
    total: int
    base: bool

    @property
    def shared(self) -> int:
        return self.total - self.own


class Usage(Value):
    """All that the store holds, in bytes."""

    steps: tuple[StepSize, ...]
    titles: Mapping[str, str]
    caches: Sequence[CacheVolume]
    logs: int
    database: int

    @property
    def own_of_steps(self) -> dict[str, int]:
        """What each step takes that is not a base, by key; their sum is that of all layers
        that the store made."""
        return {step.key: step.own for step in self.steps if not step.base}

    @property
    def sums(self) -> dict[str, int]:
        """By kind, and all of it."""
        found = {
            "steps": sum(self.own_of_steps.values()),
            "bases": sum(step.own for step in self.steps if step.base),
            "caches": sum(cache.size or 0 for cache in self.caches),
            "logs": self.logs,
            "database": self.database,
        }
        return {**found, "total": sum(found.values())}


def measure(store: Store, engine: Engine) -> Usage:
    """Ask engine and store. Raises ``EngineError``, ``StoreError``."""
    totals = engine.sizes()
    links = store.links()
    records = {record.key: record for record in store.records()}
    steps = []
    for row in store.rows():
        total = totals.get(row.id, 0)
        parent = links.get(row.id)
        record = records.get(row.id)
        # OBuilder's own rows say it by having no parent.
        base = record.kind == "base" if record else parent is None
        own = total if base or parent is None else total - totals.get(parent, 0)
        steps.append(StepSize(row.id, max(own, 0), total, base))
    titles = {key: readable(r.title) for key, r in records.items()}
    return Usage(
        tuple(steps),
        titles,
        engine.caches(),
        sum(store.log_sizes().values()),
        store.database_size(),
    )
