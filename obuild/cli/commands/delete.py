"""Remove a stored step with its log, and all that was built on it."""

from __future__ import annotations

import argparse

from obuild.cli.arguments import add_store
from obuild.cli.stored import find_key, open_both, shown
from obuild.engine import Engine
from obuild.errors import StoreError
from obuild.store import Store
from obuild.store.locks import VISIT

__all__ = ["EPILOG", "refuse_beside_builds", "register", "remove", "run", "say"]

EPILOG = """\
examples:
  obuild delete 7332a056             the first digits of a key are enough
  obuild delete 7332a056 --dry-run   see what was built on it and would go with it"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, or its first digits; see obuild ls")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_store(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    with open_both(arguments.store, verbose=arguments.verbose) as (store, engine):
        key = find_key(store, arguments.key)
        keys = store.descendants(key) or [key]
        if arguments.dry_run:
            say(store, keys)
        else:
            remove(store, engine, keys, "delete")
    return 0


def refuse_beside_builds(store: Store) -> None:
    """Raises ``StoreError`` while somebody builds on this store."""
    busy = [name for name in store.running() if len(name) == 64 or name.startswith(VISIT)]
    if busy:
        steps = [key[:12] for key in busy if len(key) == 64]
        what = f" (step {', '.join(steps)})" if steps else ""
        raise StoreError(
            f"a build runs on this store{what}",
            hint="wait until it has ended; obuild prune works beside it",
        )


def say(store: Store, keys: list[str]) -> None:
    """What would be removed, and what each is."""
    for key in keys:
        record = store.record(key)
        print(f"Would remove {key}  {shown(record.title if record else None)}")


def remove(store: Store, engine: Engine, keys: list[str], why: str) -> None:
    """Remove steps from the engine and the store, children before parents, saying each.

    ``why`` is kept in their records. Raises ``StoreError`` if a build runs, which may stand
    on them; then nothing is removed.
    """
    refuse_beside_builds(store)
    for key in keys:
        print(f"Removing {key}", flush=True)
        engine.delete([key])
        store.remove_log(key)  # first: it makes room where the disk is full
        store.forget([key], why)
