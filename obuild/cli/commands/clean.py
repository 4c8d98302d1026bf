"""Remove everything that the store holds: snapshots, logs, volumes. The store itself stays."""

from __future__ import annotations

import argparse

from obuild.cli.arguments import add_store
from obuild.cli.commands.delete import remove
from obuild.cli.stored import open_both
from obuild.store import Store

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild clean
  obuild clean --store docker:./var"""


def register(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store, verbose=arguments.verbose) as (store, engine):
        keys = _children_first(store)
        remove(store, engine, keys)
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
