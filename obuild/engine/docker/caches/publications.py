"""Making a cache anew, so that a crash at any moment leaves the old files or the new, whole.

Docker cannot rename a volume: it has to be removed, made and filled again. While that goes on
a second volume stands beside it as a sign, whose labels tell what is being done:

1. The sign is made. It names the volume with the new files, if there are any, and a token.
2. The old volume is removed, the new one made; it bears the token. It is filled.
3. The sign is removed.

Whoever finds a sign, under the cache's lock, finishes what it says. A volume that does not
bear its token has not been touched yet, or OBuilder has made it since: it stays. Else the
volume may be half filled. It is made again if the new files are still there, and removed if
they are not (OBuilder removes them at its start).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from obuild.engine.docker.caches.names import CacheName, lock_of
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.volumes import Volumes

__all__ = ["NEW_LABEL", "Publications"]

_TOKEN = "obuild.token"
NEW_LABEL = "obuild.new"
"""The label of a sign that names the volume with the new files."""


class Publications:
    """Makes caches anew. Every method is called under the cache's lock."""

    def __init__(self, volumes: Volumes):
        self._volumes = volumes

    def generation(self, cache: CacheName) -> str | None:
        """Changes with each publication; None if there is no such cache."""
        labels = self._volumes.labels(cache.volume)
        return None if labels is None else labels.get(_TOKEN, "")

    def publish(self, cache: CacheName, new: str, cancel: Event) -> bool:
        """Make the files of the volume ``new`` the cache's.

        False, and nothing is done, if somebody else's container has the volume.
        """
        return self._make(cache, new, lambda: self._copy(new, cache, cancel))

    def begin(self, cache: CacheName, fill: Callable[[], None]) -> bool:
        """Make the cache, empty; ``fill`` gives it what it has from the beginning."""
        return self._make(cache, "", fill)

    def finish(self, cache: CacheName) -> None:
        """Finish, or undo, what somebody began who is dead by now."""
        sign = self._volumes.labels(cache.publication)
        if sign is None:
            return
        new = sign.get(NEW_LABEL, "")
        found = self._volumes.labels(cache.volume)
        if found is None or found.get(_TOKEN) == sign.get(_TOKEN):
            self._remove(cache)
            if new and self._volumes.labels(new) is not None:
                self._volumes.create(cache.volume, {**cache.labels, _TOKEN: sign.get(_TOKEN, "")})
                self._copy(new, cache, Event())
        self._volumes.remove(cache.publication)

    def _make(self, cache: CacheName, new: str, fill: Callable[[], None]) -> bool:
        from secrets import token_hex

        labels = {**cache.labels, _TOKEN: token_hex(8)}
        self._volumes.create(cache.publication, {**labels, NEW_LABEL: new})
        try:
            self._remove(cache)
        except DaemonError as error:
            self._volumes.remove(cache.publication)
            if error.status != 409:
                raise
            return False
        self._volumes.create(cache.volume, labels)
        fill()
        self._volumes.remove(cache.publication)
        return True

    def _remove(self, cache: CacheName) -> None:
        self._volumes.remove(cache.volume, lock_of(cache.volume))

    def _copy(self, new: str, cache: CacheName, cancel: Event) -> None:
        self._volumes.copy(new, cache.volume, lock_of(cache.volume), cancel)
