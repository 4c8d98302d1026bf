"""Where caches are kept: a folder for each, ``native/caches/NAME``.

In it, ``about`` tells what cache it is. One of OBuilder's kind has ``version``: its layers, the
lowest first, and a token that is new with every version. Any other has ``data``, which runs have
mounted. Both files are put there by renaming.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from secrets import token_hex
from typing import Any

from obuild.engine import CacheVolume
from obuild.engine.cacheuses import CacheUse
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.source import decode, encode
from obuild.values import Value, replace

__all__ = ["Cache", "Shelf"]

_MOST = 32
_MODE = 0o755


class Cache(Value):
    """A cache of one store: see ``CacheUse``. ``number`` tells private ones of one id apart."""

    id: str
    sharing: str = ""
    attributes: tuple[int, int, int] | None = None
    number: int = 0

    @classmethod
    def of(cls, use: CacheUse) -> Cache:
        return cls(use.id, use.sharing, use.attributes)

    def next(self) -> Cache:
        return replace(self, number=self.number + 1)

    @property
    def name(self) -> str:
        """32 hex digits."""
        its = [encode(self.id).hex(), self.sharing, self.attributes, self.number]
        return sha256(json.dumps(its).encode()).hexdigest()[:32]

    @property
    def lock(self) -> str:
        return f"cache-{self.name}"


class Shelf:
    def __init__(self, layout: Layout, layers: Layers, calls: Calls):
        self._layout = layout
        self._layers = layers
        self._calls = calls

    def version(self, cache: Cache) -> tuple[str | None, list[str]]:
        """The token and the layers of a cache of OBuilder's kind; None: there is none yet."""
        found = self._read(cache.name, "version")
        return (None, []) if found is None else (found["token"], found["stack"])

    def publish(self, cache: Cache, stack: Sequence[str]) -> None:
        """Make it a new version of these layers; under the cache's lock."""
        old = self.version(cache)[1]
        if len(stack) > _MOST:
            with self._layers.making(cache.lock) as work:
                wanted = {
                    "layers": self._layout.layers,
                    "stack": list(stack),
                    "folder": f"{work}/layer/fs",
                }
                self._calls.ask("join", wanted)
                stack = [self._layers.keep(work)]
        self._make(cache)
        self._write(cache.name, "version", {"token": token_hex(8), "stack": list(stack)})
        self._layers.remove_unused(set(old) - set(stack))

    def folder(self, cache: Cache) -> str:
        """The folder that runs have mounted, made if it is not there; under its lock."""
        path = f"{self._layout.caches}/{cache.name}/data"
        if not os.path.isdir(path):
            self._make(cache)
            uid, gid, mode = cache.attributes or (0, 0, _MODE)
            self._calls.ask("own", {"folder": path, "owner": [uid, gid], "mode": mode})
        return path

    def all(self) -> Iterator[tuple[Cache, CacheVolume]]:
        """Every cache, in no order."""
        used = self._in_use()
        for name in os.listdir(self._layout.caches):
            about = self._read(name, "about")
            if about is None:
                continue
            attributes = about["attributes"]
            cache = Cache(
                decode(bytes.fromhex(about["id"])),
                about["sharing"],
                None if attributes is None else tuple(attributes),
                about["number"],
            )
            volume = CacheVolume(
                cache.id, name, cache.sharing, None, about["created"], in_use=name in used
            )
            yield cache, volume

    def remove(self, cache: Cache) -> None:
        """Under its lock."""
        stack = self.version(cache)[1]
        gone = f"{cache.lock}.{token_hex(4)}"
        os.rename(f"{self._layout.caches}/{cache.name}", f"{self._layout.work}/{gone}")
        self._layers.remove_work([gone])
        self._layers.remove_unused(stack)

    def replace_data(self, cache: Cache, work: str) -> None:
        """The files of ``work/layer/fs`` become those of the cache, all at once."""
        place = f"{self._layout.caches}/{cache.name}"
        self._make(cache)
        if os.path.isdir(f"{place}/data"):
            os.mkdir(f"{work}/old")
            os.rename(f"{place}/data", f"{work}/old/data")
        os.rename(f"{work}/layer/fs", f"{place}/data")

    def _in_use(self) -> set[str]:
        found: set[str] = set()
        for uses in self._layers.uses():
            found.update(uses["caches"])
        return found

    def _make(self, cache: Cache) -> None:
        os.makedirs(f"{self._layout.caches}/{cache.name}", 0o700, exist_ok=True)
        if self._read(cache.name, "about") is None:
            about = {
                "id": encode(cache.id).hex(),
                "sharing": cache.sharing,
                "attributes": cache.attributes,
                "number": cache.number,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            self._write(cache.name, "about", about)

    def _read(self, name: str, file: str) -> Any:
        try:
            with open(f"{self._layout.caches}/{name}/{file}", encoding="utf-8") as read:
                return json.load(read)
        except FileNotFoundError:
            return None

    def _write(self, name: str, file: str, value: object) -> None:
        path = f"{self._layout.caches}/{name}/{file}"
        with open(f"{path}.new", "w", encoding="utf-8") as written:
            json.dump(value, written)
        os.replace(f"{path}.new", path)
