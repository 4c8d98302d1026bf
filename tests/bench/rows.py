"""Pairs of measurements, and what they come to."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.programs import Measure

__all__ = ["Row", "table"]

_MEMORY_BOUND = 100_000_000


@dataclass(slots=True)
class Row:
    """One thing that is measured: pairs of what is obuild's and a rival. ``bound``: the rival's
    time times this is the most that ours may take."""

    title: str
    rival: str = "docker build"
    bound: float = 1.0
    pairs: list[tuple[Measure, Measure]] = field(default_factory=list)

    def measure(
        self,
        obuild: Callable[[], Measure],
        rival: Callable[[], Measure],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """One more pair; each has the first turn every other time."""
        if len(self.pairs) % 2:
            theirs = rival()
            ours = obuild()
        else:
            ours = obuild()
            theirs = rival()
        check()
        self.pairs.append((ours, theirs))

    @property
    def ratios(self) -> list[float]:
        return [ours.seconds / theirs.seconds for ours, theirs in self.pairs]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def peak(self) -> int:
        return max(ours.peak for ours, _ in self.pairs)

    @property
    def holds(self) -> bool:
        return self.ratio <= self.bound and self.peak <= _MEMORY_BOUND

    def cells(self) -> tuple[str, ...]:
        ours = statistics.median(pair[0].seconds for pair in self.pairs)
        theirs = statistics.median(pair[1].seconds for pair in self.pairs)
        spread = f"{min(self.ratios):.2f}-{max(self.ratios):.2f}"
        return (
            self.title,
            self.rival,
            str(len(self.pairs)),
            f"{ours:.3f} s",
            f"{theirs:.3f} s",
            f"{self.ratio:.2f}",
            spread,
            f"{self.bound:.2f}",
            f"{self.peak / 1e6:.0f} MB",
            f"{_MEMORY_BOUND / 1e6:.0f} MB",
            "yes" if self.holds else "NO",
        )


_HEADINGS = (
    "what",
    "against",
    "pairs",
    "obuild",
    "rival",
    "ratio",
    "from-to",
    "bound",
    "peak memory",
    "bound",
    "holds",
)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table; times and ratios are medians."""
    lines = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    rule = tuple("-" * width for width in widths)
    padded = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (_HEADINGS, rule, *lines[1:])
    ]
    return "\n".join(padded)
