"""What the commands about stored steps share: opening the store, naming a key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from obuild.cli.arguments import store_path
from obuild.cli.engines import docker_engine
from obuild.engine import Engine
from obuild.errors import UsageError
from obuild.events import EngineCalled, Event, Warned
from obuild.executor.opening import open_engine
from obuild.progress.calls import shell_line
from obuild.progress.output import clean_lines
from obuild.source import readable
from obuild.store import Store

__all__ = ["find_key", "open_both", "open_store", "shown", "size_text"]


@contextmanager
def open_store(given: str | None) -> Iterator[Store]:
    """The store, which must be there already. Raises ``StoreError``."""
    with Store.open(store_path(given), create=False) as store:
        yield store


@contextmanager
def open_both(
    given: str | None, *, verbose: bool = False, create: bool = False
) -> Iterator[tuple[Store, Engine]]:
    """The store and its engine, which then agree on what there is. ``create``: make a store
    that is not there.

    A damaged database is replaced: the engine tells what belongs into a new one.
    """
    path = store_path(given)
    with Store.open(path, create=create, warn=lambda what: show(Warned(what))) as store:
        engine = open_engine(
            store, docker_engine(store.prefix, show, lock=store.lock, verbose=verbose), show
        )
        try:
            yield store, engine
        finally:
            engine.close()


def show(event: Event) -> None:
    """Events of commands that build nothing, on standard error."""
    match event:
        case Warned(message=message):
            print(f"obuild: warning: {message}", file=sys.stderr)
        case EngineCalled():
            for line in filter(None, clean_lines(shell_line(event))):
                print(line, file=sys.stderr)


def find_key(store: Store, prefix: str) -> str:
    """The one key that begins with ``prefix``. Raises ``UsageError``."""
    found = store.find(prefix.lower())
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no stored step has a key that begins with {prefix}", hint="see obuild ls"
        )
    keys = ", ".join(key[:16] for key in found[:5])
    raise UsageError(f"{len(found)} keys begin with {prefix}", hint=f"give more digits: {keys}")


def shown(text: str | None) -> str:
    """A title on one line, nothing in it that acts on a terminal."""
    if text is None:
        return "(no record: built by OBuilder, or before the database was lost)"
    plain = readable(text)
    return "".join(c if c.isprintable() else " " for c in plain)


def size_text(size: int) -> str:
    """Bytes as people read them: three digits and a unit, decimal as docker counts."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
