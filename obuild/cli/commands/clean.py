"""Remove everything that the store holds: steps, logs, caches, volumes, and what is remembered.

The store itself stays.
"""

from __future__ import annotations

import argparse

from obuild.cli.arguments import add_store
from obuild.cli.commands.delete import remove, say
from obuild.cli.stored import open_both, shown
from obuild.store import Store

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild clean
  obuild clean --dry-run            see the steps that would go
  obuild clean --store docker:./var"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_store(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store, verbose=arguments.verbose) as (store, engine):
        keys = _children_first(store)
        if arguments.dry_run:
            say(store, keys)
            for cache in engine.caches():
                print(f"Would remove the cache {shown(cache.id)}")
            return 0
        remove(store, engine, keys, "clean")
        engine.clean()
        store.forget_all()
    print(f"Removed {len(keys)} items")
    return 0


def _children_first(store: Store) -> list[str]:
    order: dict[str, None] = {}
    for row in store.rows():
        if row.parent is None:
            order.update(dict.fromkeys(store.descendants(row.id)))
    return list(order)
