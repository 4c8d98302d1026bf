"""The caches of a store, apart from runs: listed, removed, taken out and put in, mended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

from obuild.engine import CacheVolume, Lock
from obuild.engine.cacheuses import SHARINGS
from obuild.engine.docker.caches.archives import read_archive, taken_out
from obuild.engine.docker.caches.mounted import OWNER_LABEL
from obuild.engine.docker.caches.names import CacheName, lock_of, parse_cache_name
from obuild.engine.docker.caches.publications import NEW_LABEL, Publications
from obuild.engine.docker.connection import DaemonError, request
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.volumes import Volumes
from obuild.errors import EngineError

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Stock"]

_MOST = 10**12
_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds between questions for sizes; after the last, they are not known."""


class Stock:
    """All caches of one store."""

    def __init__(self, daemon: Daemon, volumes: Volumes, publications: Publications, lock: Lock):
        self._daemon = daemon
        self._volumes = volumes
        self._publications = publications
        self._lock = lock
        self._prefix = daemon.names.prefix

    def list(self) -> Sequence[CacheVolume]:
        """See ``Engine.caches``. Sizes cost the daemon a walk through every volume."""
        found = [
            _described(cache, row)
            for row in self._usage()
            if (cache := parse_cache_name(self._prefix, row["Name"], row.get("Labels") or {}))
        ]
        return sorted(found, key=lambda cache: (cache.id, cache.sharing, cache.name))

    def remove(self, cache: CacheVolume) -> None:
        """See ``Engine.remove_cache``."""
        name = self._named(cache)
        with self._unused(name):
            self._publications.finish(name)
            try:
                self._volumes.remove(name.volume, lock_of(name.volume))
            except DaemonError as error:
                if error.status != 409:
                    raise
                raise _in_use(name) from error

    @contextmanager
    def _unused(self, cache: CacheName) -> Iterator[None]:
        """Under the cache's lock. Raises ``EngineError`` if another has it."""

        def busy() -> None:
            raise _in_use(cache)

        with self._lock(lock_of(cache.volume), Event(), busy):
            yield

    def take_out(self, cache: CacheVolume, cancel: Event) -> Iterator[bytes]:
        """See ``Engine.export_cache``."""
        name = self._named(cache)
        owner = lock_of(name.volume)
        with ExitStack() as stack:
            if name.sharing != "shared":  # where runs write meanwhile anyhow
                stack.enter_context(self._unused(name))
            self._publications.finish(name)
            yield from taken_out(
                stack.enter_context(self._volumes.read(name.volume, owner)), cancel
            )

    def put_in(self, id: str, sharing: str, archive: Iterator[bytes], cancel: Event) -> CacheVolume:
        """See ``Engine.import_cache``. Nobody sees the new files before all are there."""
        from secrets import randbelow

        if sharing and sharing not in SHARINGS:
            raise EngineError(
                f"there is no sharing {sharing!r}", hint=f"it can be {', '.join(SHARINGS)}"
            )
        cache = CacheName(self._prefix, id, sharing)
        owner = lock_of(cache.volume)
        new = cache.clone(randbelow(_MOST))
        with self._unused(cache):
            self._publications.finish(cache)
            self._volumes.create(new, {**cache.labels, OWNER_LABEL: owner})
            try:
                self._volumes.write(new, owner, read_archive(archive), cancel)
                if not self._publications.publish(cache, new, Event()):
                    raise _in_use(cache)
            finally:
                if self._volumes.labels(cache.publication) is None:
                    self._volumes.remove(new)
        return CacheVolume(id, cache.volume, sharing, None, "")

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:
        """Remove what the dead left, secrets first, and finish what they began; says what was
        removed. Containers that use it must be gone."""
        clones = self._volumes.rows(f"^{self._prefix}-cache-tmp-")
        others = f"^{self._prefix}-(secrets|cache-publish)-"
        rows = _labelled(self._volumes.rows(others, note="secrets, caches half made"))
        removed = [name for name in rows if self._is_dead_secret(name, alive)]
        for name in removed:
            self._volumes.remove(name)
        needed = {self._finish(name, labels, alive) for name, labels in rows.items()}
        for name, labels in _labelled(clones).items():
            owner = labels.get(OWNER_LABEL, "")
            if name not in needed and not (owner and alive(owner)):
                self._volumes.remove(name)
                removed.append(name)
        return [f"volume {name}" for name in removed]

    def _is_dead_secret(self, name: str, alive: Callable[[str], bool]) -> bool:
        key = self._daemon.names.key_of_secrets(name)
        return key is not None and not alive(key)

    def _finish(
        self, sign: str, labels: Mapping[str, str], alive: Callable[[str], bool]
    ) -> str | None:
        """Finish the publication that a sign tells of; if somebody is at it, the name of the
        volume that he needs."""
        start = f"{self._prefix}-cache-publish-"
        if not sign.startswith(start):
            return None
        name = f"{self._prefix}-cache-{sign.removeprefix(start)}"
        cache = parse_cache_name(self._prefix, name, labels)
        if cache is None:
            return None
        if alive(lock_of(cache.volume)):
            return labels.get(NEW_LABEL)
        with self._lock(lock_of(cache.volume), Event(), lambda: None):
            self._publications.finish(cache)
        return None

    def _named(self, cache: CacheVolume) -> CacheName:
        labels = self._volumes.labels(cache.name)
        found = None if labels is None else parse_cache_name(self._prefix, cache.name, labels)
        if found is None:
            raise EngineError(f"there is no cache {cache.name}", hint="see obuild cache ls")
        return found

    def _usage(self) -> Iterator[Mapping[str, Any]]:
        """A daemon of API 1.42 or later can be asked for the volumes alone."""
        for pause in _PAUSES:
            try:
                yield from self._ask().json().get("Volumes") or ()
                return
            except DaemonError as error:
                # 20.10 answers one at a time. Sizes are no reason to fail.
                if "already running" not in error.words:
                    raise
            time.sleep(pause)
        yield from self._volumes.rows(f"^{self._prefix}-cache-")

    def _ask(self) -> Response:
        with self._daemon.connection.client() as api:
            return request(api, "GET", "/system/df", "type=volume")


def _labelled(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, str]]:
    return {row["Name"]: row.get("Labels") or {} for row in rows}


def _described(cache: CacheName, row: Mapping[str, Any]) -> CacheVolume:
    usage = row.get("UsageData") or {}
    size = int(usage.get("Size", -1))
    return CacheVolume(
        id=cache.id,
        name=row["Name"],
        sharing=cache.sharing,
        size=None if size < 0 else size,
        created=row.get("CreatedAt") or "",
        in_use=int(usage.get("RefCount", 0)) > 0,
    )


def _in_use(cache: CacheName) -> EngineError:
    return EngineError(f"the cache {cache.id} is in use", hint="wait until the build has ended")
