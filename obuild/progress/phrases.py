"""Words that the displays share: times, sizes, names of stages, the last line."""

from __future__ import annotations

__all__ = ["duration", "name_stage", "size", "summarise"]


def duration(seconds: float) -> str:
    """``0.4 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 59.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(count: int) -> str:
    """``312 B``, ``4.5 kB``, ``120.3 MB``: thousands, as Docker counts."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def name_stage(within: tuple[str, ...]) -> str:
    """``[caster] `` for before a title; empty for the outermost build."""
    return f"[{'/'.join(within)}] " if within else ""


def summarise(hits: int, built: int, failed: int, stopped: int, seconds: float) -> str:
    """``11 steps: 3 cached, 8 built in 4.2 s``; empty if there was no step."""
    counts = [
        (hits, "cached"),
        (built, "built"),
        (failed, "failed"),
        (stopped, "stopped"),
    ]
    total = sum(count for count, _ in counts)
    if not total:
        return ""
    some = [f"{count} {word}" for count, word in counts if count]
    if len(some) == 1 and total > 1:
        some = [some[0].replace(str(total), "all", 1)]
    steps = "1 step" if total == 1 else f"{total} steps"
    return f"{steps}: {', '.join(some)} in {duration(seconds)}"
