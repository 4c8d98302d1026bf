"""Remove a stored step with its log, and all that was built on it."""

from __future__ import annotations

import argparse

from obuild.cli.arguments import add_store
from obuild.cli.stored import find_key, open_both
from obuild.engine import Engine
from obuild.errors import StoreError
from obuild.store import Store

__all__ = ["EPILOG", "refuse_beside_builds", "register", "remove", "run"]

EPILOG = """\
examples:
  obuild delete 7332a056      the first digits of a key are enough"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, or its first digits; see obuild ls")
    add_store(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store, verbose=arguments.verbose) as (store, engine):
        key = find_key(store, arguments.key)
        remove(store, engine, store.descendants(key) or [key])
    return 0


def refuse_beside_builds(store: Store) -> None:
    """Raises ``StoreError`` while somebody builds on this store."""
    busy = store.running()
    if busy:
        steps = [key[:12] for key in busy if len(key) == 64]
        what = f" (step {', '.join(steps)})" if steps else ""
        raise StoreError(f"a build runs on this store{what}", hint="wait until it has ended")


def remove(store: Store, engine: Engine, keys: list[str]) -> None:
    """Remove steps from the engine and the store, children before parents, saying each.

    Raises ``StoreError`` if a build runs, which may stand on them; then nothing is removed.
    """
    refuse_beside_builds(store)
    for key in keys:
        print(f"Removing {key}", flush=True)
        engine.delete([key])
        store.remove_log(key)  # first: it makes room where the disk is full
        store.forget([key])
