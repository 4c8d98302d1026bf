"""The caches of a store, apart from runs: listed, removed, taken out and put in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from obuild.engine import CacheVolume, Cancel, Lock
from obuild.engine.cacheuses import SHARINGS
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.shelf import Cache, Shelf
from obuild.errors import EngineError

__all__ = ["Stock"]


class Stock:
    def __init__(self, shelf: Shelf, layout: Layout, layers: Layers, calls: Calls, lock: Lock):
        self._shelf = shelf
        self._layout = layout
        self._layers = layers
        self._calls = calls
        self._lock = lock

    def list(self) -> Sequence[CacheVolume]:
        """See ``Engine.caches``."""
        found = sorted(self._shelf.all(), key=lambda pair: (pair[0].id, pair[0].sharing))
        return tuple(volume for _, volume in found)

    def remove(self, cache: CacheVolume) -> None:
        """See ``Engine.remove_cache``."""
        its = self._named(cache)
        with self._unused(its):
            self._shelf.remove(its)

    def take_out(self, cache: CacheVolume, cancel: Cancel) -> Iterator[bytes]:
        """See ``Engine.export_cache``."""
        its = self._named(cache)
        with self._layers.making(its.lock) as work:
            stack, folder = None, f"{self._layout.caches}/{its.name}/data"
            if not its.sharing:
                stack, folder = self._shelf.version(its)[1], f"{work}/layer/fs"
            wanted = {"layers": self._layout.layers, "stack": stack, "folder": folder}
            with self._calls.call("take-out", wanted, cancel, receive=True) as call:
                yield from call.output()
                call.answer()

    def put_in(
        self, id: str, sharing: str, archive: Iterator[bytes], cancel: Cancel
    ) -> CacheVolume:
        """See ``Engine.import_cache``."""
        if sharing and sharing not in SHARINGS:
            raise EngineError(
                f"there is no sharing {sharing!r}", hint=f"it can be {', '.join(SHARINGS)}"
            )
        cache = Cache(id, sharing)
        with self._layers.making(cache.lock) as work, self._unused(cache):
            wanted = {"folder": f"{work}/layer/fs", "layer": False}
            with self._calls.call("unpack", wanted, cancel, feed=True) as call:
                call.feed(archive)
                call.answer()
            if sharing:
                self._shelf.replace_data(cache, work)
            else:
                name = self._layers.keep(work)
                self._shelf.publish(cache, [name])
        return CacheVolume(id, cache.name, sharing, None, "")

    def _named(self, cache: CacheVolume) -> Cache:
        for its, volume in self._shelf.all():
            if volume.name == cache.name:
                return its
        raise EngineError(f"there is no cache {cache.id}", hint="see `obuild cache ls`")

    @contextmanager
    def _unused(self, cache: Cache) -> Iterator[None]:
        """Under the cache's lock. Raises ``EngineError`` if a run has it."""

        def busy() -> None:
            raise _in_use(cache)

        with self._lock(cache.lock, Event(), busy):
            if any(volume.in_use for its, volume in self._shelf.all() if its.name == cache.name):
                raise _in_use(cache)
            yield


def _in_use(cache: Cache) -> EngineError:
    return EngineError(
        f"the cache {cache.id} is in use by a build", hint="wait until the build is done"
    )
