"""The layers of a store: made in a folder of their own, joined where they are too many."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from obuild.engine.native.calls import Calls
from obuild.engine.native.layout import Layout
from obuild.engine.native.records import Record, read_all, write_record
from obuild.errors import EngineError
from obuild.values import replace

__all__ = ["LAYER_DIGITS", "Layers"]

LAYER_DIGITS = 26
"""The length of a layer's name: a hundred of them are less than a page."""

_MOST = 64
_KEPT = 24
"""A stack of ``_MOST`` is joined, but for its lowest ones: those many builds share."""


class Layers:
    def __init__(self, layout: Layout, calls: Calls):
        self._layout = layout
        self._calls = calls

    @contextmanager
    def making(self, owner: str) -> Iterator[str]:
        """A folder for something in the making, with all that an overlay needs: ``layer/fs``,
        ``overlay``. ``owner`` is for people. What is left in it goes.

        It is locked meanwhile, which tells sweeps that somebody is at it: as long as there is
        one, they remove no layers.
        """
        work = f"{self._layout.work}/{owner}.{token_hex(4)}"
        with _locked(self._layout.work):
            os.mkdir(work, 0o700)
            descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            os.makedirs(f"{work}/layer/fs", 0o755)
            os.mkdir(f"{work}/overlay")
            yield work
        finally:
            self.remove_work([os.path.basename(work)])
            os.close(descriptor)

    def clear_work(self, name: str) -> bool | None:
        """Remove what somebody left who died: True. None: it is gone by itself, False: he is
        at it."""
        path = f"{self._layout.work}/{name}"
        try:
            with _locked(self._layout.work):  # or it may have been made, and not locked yet
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.isdir(path):
                return None
            self.remove_work([name])
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def record(self, path: str, record: Record, work: str) -> None:
        """Write a record. Raises ``EngineError`` if a layer of it was removed meanwhile."""
        with _locked(self._layout.layers):
            for name in {*record.stack, *(layer.name for layer in record.layers)}:
                if not os.path.isdir(self._layout.layer(name)):
                    raise EngineError(
                        f"the layer {name} was removed meanwhile", hint="run the build again"
                    )
            write_record(path, record, work)

    def keep(self, work: str, name: str | None = None) -> str:
        """Put the layer of ``work`` among the layers; its name. One that is there already
        under a name that is given stays."""
        name = name or token_hex(LAYER_DIGITS // 2)
        try:
            os.rename(f"{work}/layer", self._layout.layer(name))
        except OSError:
            if not os.path.isdir(self._layout.layer(name)):
                raise
        return name

    def below(self, record: Record, owner: str) -> Record:
        """The same, with a stack that one more layer may stand on."""
        if len(record.stack) < _MOST:
            return record
        with self.making(owner) as work:
            self._calls.ask(
                "join",
                {
                    "layers": self._layout.layers,
                    "stack": record.stack[_KEPT:],
                    "folder": f"{work}/layer/fs",
                },
            )
            joined = self.keep(work)
        return replace(record, stack=(*record.stack[:_KEPT], joined))

    def remove_unused(self, candidates: Iterable[str]) -> None:
        """Remove those of the layers that no snapshot and no image names."""
        gone = []
        with _locked(self._layout.layers):
            for name in set(candidates) - self._used():
                # A layer that is half gone must not be taken for one that is there.
                aside = f"gone.{name}.{token_hex(4)}"
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self._layout.layer(name), f"{self._layout.work}/{aside}")
                    gone.append(aside)
        self.remove_work(gone)

    def present(self) -> set[str]:
        """The names of all layers that are there."""
        return {name for name in os.listdir(self._layout.layers) if name != "empty"}

    def remove_work(self, names: Sequence[str]) -> None:
        self._remove(self._layout.work, names)

    def _used(self) -> set[str]:
        used: set[str] = set()
        for _, record in self._records():
            used.update(record.stack)
            used.update(layer.name for layer in record.layers)
        for name in os.listdir(self._layout.caches):
            used.update(_json(f"{self._layout.caches}/{name}/version").get("stack", ()))
        for uses in self.uses():
            used.update(uses["layers"])
        return used

    def uses(self) -> Iterator[dict[str, list[str]]]:
        """What the runs in work say that they use of caches: ``layers`` and ``caches``."""
        for name in os.listdir(self._layout.work):
            if uses := _json(f"{self._layout.work}/{name}/uses"):
                yield uses

    def _records(self) -> Iterator[tuple[str, Record]]:
        yield from read_all(self._layout.snapshots)
        yield from read_all(self._layout.images)

    def _remove(self, folder: str, names: Sequence[str]) -> None:
        """In the user namespace, if there is one: other ids' files may be in them."""
        if not names:
            return
        if not self._calls.root:
            self._calls.ask("remove", {"folder": folder, "names": list(names)})
            return
        from obuild.layers import remove

        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names:
                remove(os.fsencode(name), descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """No other thread of any process has that folder locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found
