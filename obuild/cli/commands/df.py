"""Show what the store holds, and how much disk each step takes and shares."""

from __future__ import annotations

import argparse
import json
import sys

from obuild.cli.arguments import add_store
from obuild.cli.stored import open_both, shown, size_text
from obuild.cli.usage import StepSize, Usage, measure

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild df            largest first
  obuild df --json     sizes in bytes

OWN is what a step takes beyond the step it was built on, SHARED what it has from there, TOTAL
both. The sum of all OWN counts each layer once. A base image is shared with whoever else uses
it, and may stay when the store is cleaned; the sums name it apart."""


def register(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store) as (store, engine):
        usage = measure(store, engine)
    if arguments.json:
        json.dump(_as_json(usage), sys.stdout, indent=1)
        print()
    else:
        _print(usage)
    return 0


def _as_json(usage: Usage) -> dict[str, object]:
    return {
        "steps": [
            {
                "key": step.key,
                "own": step.own,
                "shared": step.shared,
                "total": step.total,
                "base": step.base,
                "title": usage.titles.get(step.key),
            }
            for step in _ordered(usage)
        ],
        "caches": [
            {
                "id": cache.id,
                "volume": cache.name,
                "sharing": cache.sharing,
                "size": cache.size,
                "in_use": cache.in_use,
            }
            for cache in usage.caches
        ],
        "sums": usage.sums,
    }


def _print(usage: Usage) -> None:
    print(f"{'KEY':12}  {'OWN':>8}  {'SHARED':>8}  {'TOTAL':>8}  STEP")
    for step in _ordered(usage):
        sizes = "  ".join(f"{size_text(n):>8}" for n in (step.own, step.shared, step.total))
        print(f"{step.key[:12]}  {sizes}  {shown(usage.titles.get(step.key))}")
    for cache in usage.caches:
        held = "?" if cache.size is None else size_text(cache.size)
        kind = f" ({cache.sharing})" if cache.sharing else ""
        used = ", in use" if cache.in_use else ""
        print(f"{'cache':12}  {held:>8}  {'':8}  {held:>8}  {shown(cache.id)}{kind}{used}")
    bases = sum(step.base for step in usage.steps)
    names = {
        "steps": _count(len(usage.steps) - bases, "step"),
        "bases": _count(bases, "base image"),
        "caches": _count(len(usage.caches), "cache"),
        "total": "in all",
    }
    print()
    for name, size in usage.sums.items():
        print(f"{names.get(name, name):16}  {size_text(size):>8}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ordered(usage: Usage) -> list[StepSize]:
    return sorted(usage.steps, key=lambda step: -step.own)
