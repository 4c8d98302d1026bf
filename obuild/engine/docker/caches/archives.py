"""Archives of caches: what users put in is read with distrust.

An archive that is put in may be plain, or packed by gzip, bzip2 or xz. Its members are written
anew: whole paths below the cache's root, no way out by ``..`` or through a link, no devices.
Members of one that is taken out begin with ``./``, as ``tar -C FOLDER .`` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING, Any

from obuild.engine.docker.volumes import TOP, Pieces
from obuild.engine.streams import Stream
from obuild.errors import Cancelled, EngineError

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

__all__ = ["read_archive", "taken_out"]

_ENCODING = "utf-8"
_ERRORS = "surrogateescape"
_CHUNK = 1 << 18
_BLOCK = 512
_ZSTD = b"\x28\xb5\x2f\xfd"
_XATTR = "SCHILY.xattr."
_HINT = "nothing was changed; see what it holds by tar -tvf"


def taken_out(pieces: Pieces, cancel: Event) -> Iterator[bytes]:
    """The stream of a volume under names that users expect."""
    import tarfile

    with tarfile.open(
        fileobj=Stream(pieces), mode="r|", encoding=_ENCODING, errors=_ERRORS
    ) as archive:
        for member in archive:
            if cancel.is_set():
                raise Cancelled("cancelled")
            member.name = _outside(member.name)
            if member.islnk():
                member.linkname = _outside(member.linkname)
            yield from _member(archive, member)
    for _ in pieces:
        pass  # the end, where the stream tells whether it is whole
    yield bytes(2 * _BLOCK)


def _outside(name: str) -> str:
    return f"./{name.removeprefix(TOP).lstrip('/')}"


def read_archive(pieces: Pieces) -> Iterator[bytes]:
    """A user's archive as the stream of a volume. Raises ``EngineError`` for one that is cut,
    is no archive, or holds what a cache cannot."""
    import lzma
    import tarfile
    import zlib

    tail = _Tail(_unpacked(pieces))
    try:
        with tarfile.open(
            fileobj=Stream(iter(tail)), mode="r|", encoding=_ENCODING, errors=_ERRORS
        ) as archive:
            checked = _Checked()
            for member in archive:
                checked.enter(member)
                yield from _member(archive, member)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise _refused(f"it cannot be read ({error})") from error
    for _ in tail:
        pass
    if not tail.ended:
        raise _refused("its end is missing")
    yield bytes(2 * _BLOCK)


class _Checked:
    """Which members there were; names are tidy paths below the root."""

    def __init__(self) -> None:
        self._others: set[str] = set()  # what is no folder

    def enter(self, member: TarInfo) -> None:
        """Rename ``member`` to where it goes. Raises ``EngineError`` if it may not be there."""
        path = self._path(member.name)
        if member.ischr() or member.isblk():
            raise _refused(f"{member.name} is a device, which no cache can hold")
        if not path and not member.isdir():
            raise _refused("its root is no folder")
        if member.islnk():
            target = self._path(member.linkname)
            if target not in self._others:
                raise _refused(f"{member.name} is a link to {member.linkname}, no file before it")
            member.linkname = f"{TOP}/{target}"
        self._others.discard(path)
        if not member.isdir():
            self._others.add(path)
        member.name = f"{TOP}/{path}" if path else TOP

    def _path(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise _refused(f"{name!r} leads out of the cache")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if above in self._others:
                raise _refused(f"{name} is below {above}, which is no folder")
        return "/".join(parts)


class _Tail:
    """Pieces, and whether the last block of them was empty, as an archive's is."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._last = b""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self._last = (self._last + piece)[-_BLOCK:]
        return piece

    @property
    def ended(self) -> bool:
        return self._last == bytes(_BLOCK)


def _member(archive: TarFile, member: TarInfo) -> Iterator[bytes]:
    import tarfile

    kept = {k: v for k, v in member.pax_headers.items() if k.startswith(_XATTR)}
    member.pax_headers = kept
    member.mtime = int(member.mtime)
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        member.size = 0
    elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        member.type = tarfile.REGTYPE  # sparse, or contiguous: written in full
    if kept:
        yield member.tobuf(tarfile.PAX_FORMAT, _ENCODING, _ERRORS)
    else:
        yield member.tobuf(tarfile.GNU_FORMAT, _ENCODING, _ERRORS)
    if content is not None:
        while piece := content.read(_CHUNK):
            yield piece
        yield bytes(-member.size % _BLOCK)


def _unpacked(pieces: Pieces) -> Iterator[bytes]:
    """The archive itself, whatever it was packed by."""
    import bz2
    import gzip
    import lzma

    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= _BLOCK:
            break
    stream = Stream(chain([start] if start else [], pieces))
    if start.startswith(_ZSTD):
        raise EngineError("this archive is packed by zstd", hint="unpack it first: zstd -d FILE")
    packed: Any = stream
    if start.startswith(b"\x1f\x8b"):
        packed = gzip.GzipFile(fileobj=stream, mode="rb")
    elif start.startswith(b"BZh"):
        packed = bz2.BZ2File(stream)
    elif start.startswith(b"\xfd7zXZ"):
        packed = lzma.LZMAFile(stream)  # type: ignore[arg-type]  # noqa: SIM115
    while data := packed.read(_CHUNK):
        yield data


def _refused(why: str) -> EngineError:
    return EngineError(f"this archive cannot become a cache: {why}", hint=_HINT)
