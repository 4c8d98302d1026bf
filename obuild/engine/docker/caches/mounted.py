"""The caches of a run, mounted.

- OBuilder's kind: each run gets a clone of the cache's volume, whose root belongs to the
  run's user. After the run, also when it failed, the clone becomes the cache; but if another
  run was faster, that one's stays, and the clone goes. So runs never see each other's files
  half written. A cancelled run leaves the cache as it was.
- ``(sharing shared)``: all runs have the one volume mounted, at once.
- ``(sharing locked)``: the same, but a run waits until no other has it.
- ``(sharing private)``: a run that finds the volume in use gets another, which is kept, too.

Docker fills a volume that is empty with what the image has at the target, as for OBuilder;
but not where an owner or a mode is asked for, which it would put back to the image's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

from obuild.engine import Lock, Waiting
from obuild.engine.cacheuses import CacheUse, read_caches
from obuild.engine.docker.caches.names import CacheName, lock_of
from obuild.engine.docker.caches.publications import Publications
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import volume_mount
from obuild.engine.docker.volumes import Volumes
from obuild.ir.ops import UnixUser
from obuild.ir.steps import RunStep
from obuild.platforms import Platform

__all__ = ["OWNER_LABEL", "Caches", "Mounted"]

OWNER_LABEL = "obuild.owner"
"""The label of a clone: the lock whose holder uses it."""

_MOST = 10**12
_ROOT = UnixUser(0, 0)


class _Busy(Exception):
    pass


class Mounted:
    """The caches of one run. ``mounts`` are what its container gets."""

    def __init__(self) -> None:
        self.mounts: list[dict[str, Any]] = []
        self._clones: list[_Clone] = []

    def add(self, clone: _Clone) -> None:
        self._clones.append(clone)

    def keep(self) -> None:
        """The command has ended: what it wrote becomes the caches' content. Of two clones of
        one cache the last one counts, as in OBuilder."""
        for clone in reversed(self._clones):
            clone.publish()


class Caches:
    """Mounts the caches of runs. ``lock`` is the store's, for what must not happen at once."""

    def __init__(
        self,
        daemon: Daemon,
        volumes: Volumes,
        publications: Publications,
        lock: Lock,
        platform: Callable[[], Platform],
    ):
        self._daemon = daemon
        self._volumes = volumes
        self._publications = publications
        self._lock = lock
        self._platform = platform

    @contextmanager
    def mounted(
        self, key: str, step: RunStep, cancel: Event, waiting: Waiting
    ) -> Iterator[Mounted]:
        """While the context is open the run of ``key`` has its caches."""
        found = Mounted()
        uses = read_caches(step, self._platform())
        with ExitStack() as stack:
            self._lock_some(stack, uses, cancel, waiting)
            for use in uses:
                volume = stack.enter_context(self._volume(key, use, step, found, cancel))
                asked = use.mode, use.uid, use.gid
                # Docker would give it the owner and mode that the image has at the target.
                fill = asked == (None, None, None)
                found.mounts.append(volume_mount(volume, use.target, fill=fill))
            yield found

    def _lock_some(
        self, stack: ExitStack, uses: Sequence[CacheUse], cancel: Event, waiting: Waiting
    ) -> None:
        """In one order for all runs, so that no two of them wait for each other."""
        asked = [self._name(use) for use in uses if use.sharing == "locked"]
        locked = {cache.volume: cache for cache in asked}
        for volume in sorted(locked):

            def wait(cache: CacheName = locked[volume]) -> None:
                waiting(f"the cache {cache.id} is in use by another build")

            stack.enter_context(self._lock(lock_of(volume), cancel, wait))
            self._begin(locked[volume], cancel)

    def _name(self, use: CacheUse) -> CacheName:
        return CacheName.of(self._daemon.names.prefix, use)

    @contextmanager
    def _volume(
        self, key: str, use: CacheUse, step: RunStep, found: Mounted, cancel: Event
    ) -> Iterator[str]:
        cache = self._name(use)
        match cache.sharing:
            case "":
                user = use.owner(step.user)
                clone = _Clone(
                    self._volumes, self._publications, self._lock, cache, self._daemon.warn
                )
                clone.make(key, user, use.mode, cancel)
                with self._daemon.temporary(clone.volume, clone.remove):
                    found.add(clone)
                    yield clone.volume
            case "shared":
                with self._lock(lock_of(cache.volume), cancel, lambda: None):
                    self._begin(cache, cancel)
                yield cache.volume
            case "locked":
                yield cache.volume
            case _:
                with self._unused(cache, cancel) as volume:
                    yield volume

    @contextmanager
    def _unused(self, cache: CacheName, cancel: Event) -> Iterator[str]:
        """The first of the private volumes of that cache that no other run has."""
        from obuild.values import replace

        def busy() -> None:
            raise _Busy

        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self._lock(lock_of(cache.volume), cancel, busy))
                    break
                except _Busy:
                    cache = replace(cache, number=cache.number + 1)
            self._begin(cache, cancel)
            yield cache.volume

    def _begin(self, cache: CacheName, cancel: Event) -> None:
        """Make the volume if it is not there; under its lock."""
        self._publications.finish(cache)
        if self._publications.generation(cache) is not None:
            return
        if cache.attributes is None:
            self._volumes.create(cache.volume, cache.labels)
            return
        uid, gid, mode = cache.attributes
        self._publications.begin(
            cache,
            lambda: self._volumes.own(
                cache.volume, lock_of(cache.volume), UnixUser(uid, gid), mode, cancel
            ),
        )


class _Clone:
    """A run's own version of a cache of OBuilder's kind."""

    def __init__(
        self,
        volumes: Volumes,
        publications: Publications,
        lock: Lock,
        cache: CacheName,
        warn: Callable[[str], None],
    ):
        from secrets import randbelow

        self._warn = warn

        self.volume = cache.clone(randbelow(_MOST))
        self._cache = cache
        self._volumes = volumes
        self._publications = publications
        self._lock = lock
        self._generation: str | None = None
        self._needed = False

    def make(self, key: str, user: UnixUser | None, mode: int | None, cancel: Event) -> None:
        """Copy the cache; nothing remains if that fails."""
        owner = lock_of(self._cache.volume)
        with self._lock(owner, cancel, lambda: None):
            self._publications.finish(self._cache)
            self._generation = self._publications.generation(self._cache)
            self._volumes.create(self.volume, {**self._cache.labels, OWNER_LABEL: key})
            try:
                if self._generation is not None:
                    self._volumes.copy(self._cache.volume, self.volume, owner, cancel, user)
                elif (user or _ROOT) != _ROOT or mode is not None:
                    mode = 0o755 if mode is None else mode
                    self._volumes.own(self.volume, owner, user or _ROOT, mode, cancel)
            except BaseException:
                self._volumes.remove(self.volume)
                raise

    def publish(self) -> None:
        """It becomes the cache, if the cache is what it was when the clone was made."""
        with self._lock(lock_of(self._cache.volume), Event(), lambda: None):
            self._publications.finish(self._cache)
            if self._publications.generation(self._cache) == self._generation:
                self._needed = True
                published = self._publications.publish(self._cache, self.volume, Event())
                self._needed = False
                if not published:
                    self._warn(
                        f"the cache {self._cache.id} stays as it was: a container that is not"
                        f" obuild's has its volume {self._cache.volume}"
                    )

    def remove(self) -> None:
        """Unless a publication that could not be finished still needs it."""
        if not self._needed:
            self._volumes.remove(self.volume)
