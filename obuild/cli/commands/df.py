"""Show what the store holds, and how much disk each step takes beyond its parent."""

from __future__ import annotations

import argparse
import json
import sys

from obuild.cli.arguments import add_store
from obuild.cli.stored import open_both, size_text
from obuild.engine import Engine
from obuild.source import encode
from obuild.store import Store

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild df            largest first
  obuild df --json     sizes in bytes

OWN is what a step takes beyond the step it was built on; a base image is shared with
whoever else uses it, and may stay when the store is cleaned."""


def register(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store) as (store, engine):
        steps = _sizes(store, engine)
    if arguments.json:
        json.dump(steps, sys.stdout, indent=1)
        print()
        return 0
    print(f"{'KEY':12}  {'OWN':>8}  {'TOTAL':>8}  STEP")
    for step in steps:
        title = step["title"] or "(built by OBuilder)"
        own, total = (size_text(int(str(step[name]))) for name in ("own", "total"))
        print(f"{str(step['key'])[:12]}  {own:>8}  {total:>8}  {title}")
    whole = sum(int(str(step["own"])) for step in steps)
    print(f"{len(steps)} steps, {size_text(whole)}")
    return 0


def _sizes(store: Store, engine: Engine) -> list[dict[str, object]]:
    totals = engine.sizes()
    titles = {record.key: record.title for record in store.records()}
    found: list[dict[str, object]] = []
    for row in store.rows():
        total = totals.get(row.id, 0)
        own = total - totals.get(row.parent or "", 0)
        title = titles.get(row.id)
        shown = encode(title).decode("utf-8", "replace") if title is not None else None
        found.append({"key": row.id, "own": max(own, 0), "total": total, "title": shown})
    return sorted(found, key=lambda step: -int(str(step["own"])))
