"""Names of the volumes of caches.

OBuilder's kind has OBuilder's names, so that both tools find the same caches (``Cache`` of its
``lib/docker_store.ml``, ``lib/escape.ml``): ``PREFIX-cache-c-ID``, and ``…-cache-tmp-N-c-ID``
for the clone of a run. Docker takes no other characters in a volume's name than letters,
digits and ``_.-``: with another id OBuilder fails; here the id's hash stands in the name.

The kinds of BuildKit have ``…-cache-SHARING-…`` with ``SHARING`` shared, private or locked. As
there, one that asks for an owner or a mode is another cache than one that does not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from obuild.engine.cacheuses import CacheUse
from obuild.source import decode, encode
from obuild.values import Value

__all__ = ["ID_LABEL", "CacheName", "lock_of", "parse_cache_name"]

ID_LABEL = "obuild.cache"
"""The label that tells a cache's id, percent-encoded."""

_PLAIN = re.compile(r"[A-Za-z0-9._-]{0,100}")
_TAIL = re.compile(
    r"(?:(?P<sharing>shared|private|locked)-(?:(?P<number>\d+)-)?"
    r"(?:(?P<uid>\d+)\.(?P<gid>\d+)\.(?P<mode>[0-7]+)-)?)?"
    r"(?:c-(?P<id>[A-Za-z0-9._-]*)|h-(?P<hash>[0-9a-f]{40}))"
)


class CacheName(Value):
    """A cache of one store. ``sharing`` is empty for OBuilder's kind, ``attributes`` are uid,
    gid and mode where they were asked for, ``number`` tells private ones of one id apart."""

    prefix: str
    id: str
    sharing: str = ""
    attributes: tuple[int, int, int] | None = None
    number: int = 0

    @classmethod
    def of(cls, prefix: str, use: CacheUse) -> CacheName:
        """The cache that a run uses."""
        return cls(prefix, use.id, use.sharing, use.attributes)

    @property
    def volume(self) -> str:
        words = [self.sharing] if self.sharing else []
        if self.number:
            words.append(str(self.number))
        if self.attributes is not None:
            uid, gid, mode = self.attributes
            words.append(f"{uid}.{gid}.{mode:04o}")
        return "-".join([self.prefix, "cache", *words, self._escaped])

    @property
    def publication(self) -> str:
        """The volume that is there while the cache is made anew."""
        return self.volume.replace(f"{self.prefix}-cache-", f"{self.prefix}-cache-publish-", 1)

    def clone(self, number: int) -> str:
        """The volume of one run, for OBuilder's kind."""
        return f"{self.prefix}-cache-tmp-{number}-{self._escaped}"

    @property
    def labels(self) -> dict[str, str]:
        from urllib.parse import quote

        return {ID_LABEL: quote(encode(self.id))}

    @property
    def _escaped(self) -> str:
        if _PLAIN.fullmatch(self.id):
            return f"c-{self.id}"
        return f"h-{hashlib.sha256(encode(self.id)).hexdigest()[:40]}"


def lock_of(volume: str) -> str:
    """The name of the lock of a cache: held while its volume is made, copied or removed."""
    return f"cache-{hashlib.sha256(volume.encode()).hexdigest()[:32]}"


def parse_cache_name(prefix: str, volume: str, labels: Mapping[str, str]) -> CacheName | None:
    """The cache whose volume this is; None for another volume."""
    start = f"{prefix}-cache-"
    found = _TAIL.fullmatch(volume.removeprefix(start)) if volume.startswith(start) else None
    if found is None:
        return None
    attributes = None
    if found["uid"] is not None:
        attributes = int(found["uid"]), int(found["gid"]), int(found["mode"], 8)
    return CacheName(
        prefix=prefix,
        id=_id(found["id"], labels),
        sharing=found["sharing"] or "",
        attributes=attributes,
        number=int(found["number"] or 0),
    )


def _id(plain: str | None, labels: Mapping[str, str]) -> str:
    from urllib.parse import unquote_to_bytes

    return plain if plain is not None else decode(unquote_to_bytes(labels.get(ID_LABEL, "")))
