"""Remove a stored step with its log, and all that was built on it."""

from __future__ import annotations

import argparse

from obuild.cli.arguments import add_store
from obuild.cli.stored import find_key, open_both
from obuild.engine import Engine
from obuild.errors import StoreError
from obuild.store import Store

__all__ = ["EPILOG", "register", "remove", "run"]

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


def remove(store: Store, engine: Engine, keys: list[str]) -> None:
    """Remove steps from the engine and the store, children before parents, saying each.

    Raises ``StoreError`` if one of them is in work; then nothing is removed.
    """
    busy = [key for key in keys if store.alive(key)]
    if busy:
        raise StoreError(
            f"the step {busy[0][:12]} is in work", hint="wait until that build has ended"
        )
    for key in keys:
        print(f"Removing {key}", flush=True)
        engine.delete([key])
        store.forget([key])
        store.remove_log(key)
