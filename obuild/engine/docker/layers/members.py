"""The members of a layer's tar, one after the other, with their headers byte for byte.

Whatever a header says, owners, times below the second, attributes of any kind, goes on as it
came; ``tarfile`` reads it, and only a member that gets another name is written anew.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from copy import copy
from tarfile import DIRTYPE, LNKTYPE, PAX_FORMAT, TarError, TarFile, TarInfo

from obuild.engine.docker.layers.joining import Entry
from obuild.errors import EngineError

__all__ = ["Member", "read_members"]

_CHUNK = 1 << 20
_BLOCK = 512


class Member:
    """One member; its content must be taken, or is skipped, before the next is read."""

    def __init__(self, info: TarInfo, head: bytes, tape: _Tape):
        self.head = head
        self._info = info
        self._tape = tape
        # A link's size is that of the file, and no content follows.
        size = info.size if info.isreg() and info.type != LNKTYPE else 0
        self._end = info.offset_data + size + -size % _BLOCK

    @property
    def entry(self) -> Entry:
        target = _path(self._info.linkname) if self._info.type == LNKTYPE else None
        size = len(self.head) + self._end - self._info.offset_data
        return Entry(_path(self._info.name), size, self._info.type == DIRTYPE, target)

    def content(self) -> Iterator[bytes]:
        """What follows the header, filled up to whole blocks."""
        while (left := self._end - self._tape.position) > 0:
            yield self._tape.take(min(left, _CHUNK))

    def head_as(self, name: str) -> bytes:
        """The header of the same file under another name."""
        return _written(self._info, name=name)

    def head_linking(self, target: str) -> bytes:
        """The header of a hard link of another file."""
        return _written(self._info, linkname=target)


class _Tape:
    """A stream that tarfile reads headers from; what it reads is recorded."""

    def __init__(self, read: Callable[[int], bytes]):
        self._read = read
        self.position = 0
        self.recorded = bytearray()

    def take(self, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := self._read(size)):
            pieces.append(piece)
            size -= len(piece)
            self.position += len(piece)
        if size:
            raise EngineError("a layer that the daemon gave ends in the middle")
        return b"".join(pieces)

    def read(self, size: int) -> bytes:
        """For tarfile, which may find the end."""
        data = b""
        while len(data) < size and (piece := self._read(size - len(data))):
            data += piece
        self.position += len(data)
        self.recorded += data
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        raise EngineError(f"a layer that the daemon gave cannot be read (at byte {position})")


def read_members(read: Callable[[int], bytes]) -> Iterator[Member]:
    """The members of the uncompressed tar that ``read(size)`` gives. ``EngineError`` if it is
    none, or is cut."""
    tape = _Tape(read)
    try:
        archive = TarFile(fileobj=tape, mode="r", encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep them all
            member = Member(info, bytes(tape.recorded), tape)
            tape.recorded.clear()
            yield member
            for _ in member.content():
                pass
        if tape.recorded.strip(b"\0"):  # tarfile ends in silence at what it does not know
            tape.seek(tape.position)
    except TarError as error:
        raise EngineError(f"a layer that the daemon gave cannot be read: {error}") from error


def _path(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


def _written(info: TarInfo, **changes: str) -> bytes:
    changed = copy(info)
    for field, value in changes.items():
        setattr(changed, field, value)
    changed.pax_headers = {
        name: value for name, value in info.pax_headers.items() if name not in ("path", "linkpath")
    }
    return changed.tobuf(PAX_FORMAT, "utf-8", "surrogateescape")
