"""The caches of runs.

- OBuilder's kind is a stack of layers, of which each run gets a version of its own: an overlay,
  nothing is copied. After the run, also when it failed, what it wrote becomes one more layer;
  but if another run was faster, that one's version stays. A cancelled run leaves the cache as
  it was.
- ``(sharing shared)``: a folder that all runs have mounted, at once. ``(sharing locked)``: the
  same, but a run waits until no other has it. ``(sharing private)``: a run that finds the
  folder in use gets another, which is kept, too.

A cache that is empty gets what the image has at the target, as with Docker; but not where an
owner or a mode is asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

from obuild.engine import Cancel, Lock, Waiting
from obuild.engine.cacheuses import CacheUse, read_caches
from obuild.engine.native.bundle import Mount
from obuild.engine.native.layers import Layers
from obuild.engine.native.shelf import Cache, Shelf
from obuild.ir.ops import UnixUser
from obuild.ir.steps import RunStep
from obuild.platforms import LINUX

__all__ = ["Caches", "Mounted"]

_ROOT = UnixUser(0, 0)


class _Busy(Exception):
    pass


class Mounted:
    """The caches of one run: ``mounts``, and what the task must do for them before."""

    def __init__(self) -> None:
        self.mounts: list[Mount] = []
        self.overlays: list[dict[str, Any]] = []
        self.fills: list[dict[str, str]] = []
        self.uses: dict[str, list[str]] = {"layers": [], "caches": []}
        self._versions: list[_Version] = []

    def add(self, version: _Version) -> None:
        self._versions.append(version)

    def keep(self) -> None:
        """The run is over, whether it succeeded or not. Of two versions of one cache the last
        counts, as in OBuilder."""
        last = {version.cache: version for version in self._versions}
        for version in last.values():
            version.publish()


class Caches:
    """Mounts the caches of runs. ``lock`` is the store's."""

    def __init__(self, shelf: Shelf, layers: Layers, lock: Lock):
        self._shelf = shelf
        self._layers = layers
        self._lock = lock

    @contextmanager
    def mounted(
        self, step: RunStep, work: str, cancel: Cancel, waiting: Waiting
    ) -> Iterator[Mounted]:
        """While the context is open the run that is made in ``work`` has its caches."""
        found = Mounted()
        uses = read_caches(step, LINUX)
        with ExitStack() as stack:
            self._lock_some(stack, uses, cancel, waiting)
            for number, use in enumerate(uses):
                self._mount(stack, use, step, f"{work}/cache-{number}", found, cancel)
            yield found

    def _lock_some(
        self, stack: ExitStack, uses: Sequence[CacheUse], cancel: Cancel, waiting: Waiting
    ) -> None:
        """In one order for all runs, so that no two of them wait for each other."""
        locked = {cache.name: cache for cache in map(Cache.of, uses) if cache.sharing == "locked"}
        for name in sorted(locked):

            def wait(cache: Cache = locked[name]) -> None:
                waiting(f"the cache {cache.id} is in use by another build")

            stack.enter_context(self._lock(locked[name].lock, cancel, wait))

    def _mount(
        self,
        stack: ExitStack,
        use: CacheUse,
        step: RunStep,
        place: str,
        found: Mounted,
        cancel: Cancel,
    ) -> None:
        cache = Cache.of(use)
        asked = (use.mode, use.uid, use.gid) != (None, None, None)
        if not cache.sharing:
            version = _Version(self._shelf, self._layers, self._lock, cache, place)
            folder = f"{place}/merged"
            for name in ("layer/fs", "overlay", "merged"):
                os.makedirs(f"{place}/{name}")
            with self._lock(cache.lock, cancel, lambda: None):
                below = version.begin()
                # Named before the lock is let go of: then nobody removes these layers.
                found.uses["layers"] += below
                self._note(place, found)
            owner = use.owner(step.user)
            new = version.is_new
            change = owner if not new or (owner or _ROOT) != _ROOT else None
            mode = use.mode
            if new and change is not None and mode is None:
                mode = 0o755
            found.overlays.append(
                {
                    "stack": below,
                    "work": place,
                    "target": folder,
                    "owner": None if change is None else [change.uid, change.gid],
                    "mode": mode if new else use.mode,
                }
            )
            found.add(version)
            empty = new
        else:
            if cache.sharing == "private":
                cache = self._unused(stack, cache, cancel)
                folder = self._shelf.folder(cache)
            elif cache.sharing == "locked":
                folder = self._shelf.folder(cache)
            else:
                with self._lock(cache.lock, cancel, lambda: None):
                    folder = self._shelf.folder(cache)
            found.uses["caches"].append(cache.name)
            os.makedirs(place)
            self._note(place, found)
            empty = True
        if empty and not asked:
            found.fills.append({"target": use.target, "folder": folder})
        found.mounts.append(Mount(folder, use.target))

    def _note(self, place: str, found: Mounted) -> None:
        """Tell other processes what is in use; the folder of the work goes with the run."""
        path = f"{os.path.dirname(place)}/uses"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(found.uses, file)
        os.replace(f"{path}.new", path)

    def _unused(self, stack: ExitStack, cache: Cache, cancel: Cancel) -> Cache:
        """The first of the private folders of that cache that no other run has."""

        def busy() -> None:
            raise _Busy

        while True:
            try:
                stack.enter_context(self._lock(cache.lock, cancel, busy))
            except _Busy:
                cache = cache.next()
            else:
                return cache


class _Version:
    """A run's own version of a cache of OBuilder's kind."""

    def __init__(self, shelf: Shelf, layers: Layers, lock: Lock, cache: Cache, place: str):
        self._shelf = shelf
        self._layers = layers
        self._lock = lock
        self.cache = cache
        self._place = place
        self._generation: str | None = None

    @property
    def is_new(self) -> bool:
        return self._generation is None

    def begin(self) -> list[str]:
        """The layers that it stands on; under the cache's lock."""
        self._generation, stack = self._shelf.version(self.cache)
        return stack

    def publish(self) -> None:
        """It becomes the cache, if the cache is what it was at the beginning."""
        with self._lock(self.cache.lock, Event(), lambda: None):
            generation, stack = self._shelf.version(self.cache)
            if generation == self._generation:
                name = self._layers.keep(self._place)
                self._shelf.publish(self.cache, [*stack, name])
