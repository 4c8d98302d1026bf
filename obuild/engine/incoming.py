"""The tar stream of a copy, fitted to where it goes.

The names in it are whole paths in the guest without links, so it can be unpacked at the
guest's root, or be a layer. What is missing above the destination comes first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING

from obuild.engine import Files, Measured, PutFiles
from obuild.engine.destination import Destination, show
from obuild.engine.streams import Stream
from obuild.errors import BuildError, Cancelled
from obuild.source import decode, encode

if TYPE_CHECKING:
    from tarfile import TarInfo

__all__ = ["Incoming"]

_ENCODING = "utf-8"
_ERRORS = "surrogateescape"
_WHITEOUT = b".wh."


class Incoming:
    """The stream of one copy, read piece by piece, without its closing blocks.

    A member for the destination itself is left out where that is a folder already: it keeps
    its metadata. Raises ``BuildError`` at once if what comes does not fit what is there, and
    ``Cancelled`` or ``SourceError`` while it is read.
    """

    def __init__(self, destination: Destination, action: PutFiles, cancel: Event):
        self.ended = False
        self._cancel = cancel
        root = b"/".join(destination.path)
        self._length = _prepared(action.files, root)
        self._source = action.files.tar(root)
        self._pending = self._fitted(destination, action)

    def left(self) -> int:
        """How many bytes are still to come."""
        return self._length

    def take(self, limit: int) -> Iterator[bytes]:
        """The next pieces, as many as hold ``limit`` bytes; ``ended`` tells if these were all."""
        taken = 0
        while taken < limit and not self.ended:
            if piece := self._next():
                taken += len(piece)
                yield piece

    def rest(self) -> Iterator[bytes]:
        while not self.ended:
            if piece := self._next():
                yield piece

    def _next(self) -> bytes:
        if self._cancel.is_set():
            raise Cancelled("cancelled")
        piece: bytes | None = self._pending
        self._pending = b""
        if not piece:
            piece = next(self._source, None)
            self.ended = piece is None
        self._length -= len(piece or b"")
        return piece or b""

    def _fitted(self, destination: Destination, action: PutFiles) -> bytes:
        """The beginning of the stream: missing folders, and what was read to see how it fits."""
        start, member = self._first()
        read = len(start)
        of_root = member is not None and member.isdir() and _is_root(member, destination.path)
        if of_root or action.files.directory:
            if destination.blocked:
                raise BuildError(
                    f"cannot copy a folder to {action.destination}: in the image"
                    f" {show(destination.path)} is no folder",
                    hint="choose another destination",
                )
        elif destination.is_folder:
            raise BuildError(
                f"cannot copy a file to {action.destination}: in the image"
                f" {show(destination.path)} is a folder",
                hint=f"write {action.destination}/ to copy it into the folder",
            )
        if member is not None and of_root and destination.is_folder:
            start = start[member.offset_data :]
        end = len(destination.path)
        if of_root or not action.files.directory:
            end -= 1
        missing = (destination.path[:i] for i in range(destination.existing + 1, end + 1))
        fitted = b"".join(_missing_folder(path) for path in missing) + start
        self._length += len(fitted) - read
        return fitted

    def _first(self) -> tuple[bytes, TarInfo | None]:
        """The first member, and all that was read for it."""
        import io
        import tarfile

        start = b""
        for piece in self._source:
            start += piece
            try:
                with tarfile.open(
                    fileobj=io.BytesIO(start), mode="r:", encoding=_ENCODING, errors=_ERRORS
                ) as archive:
                    return start, archive.next()
            except tarfile.ReadError:
                continue  # a long name: more is to come
        self.ended = not start
        return start, None


def _prepared(files: Files, root: bytes) -> int:
    """The length of the stream, which has no whiteouts: in a layer a file called ``.wh.NAME``
    says that NAME is gone (OCI image spec, "Whiteouts"), so no image can hold such a file."""
    if isinstance(files, Measured):
        names, length = files.names(root), files.length(root)
    else:
        names, length = _look_through(files.tar(root))
    for name in names:
        if _WHITEOUT in name and name.rpartition(b"/")[2].startswith(_WHITEOUT):
            shown = name.decode("utf-8", "replace")
            raise BuildError(
                f"no image can hold a file called {shown}: such a name marks a file as gone",
                hint="leave it out of the copy, or give it another name",
            )
    return length


def _look_through(pieces: Iterator[bytes]) -> tuple[Iterator[bytes], int]:
    """Names of a stream's members, and its length. It is deterministic, and made twice."""
    import tarfile

    length = 0

    def counted() -> Iterator[bytes]:
        nonlocal length
        for piece in pieces:
            length += len(piece)
            yield piece

    stream = Stream(counted())
    with tarfile.open(fileobj=stream, mode="r|", encoding=_ENCODING, errors=_ERRORS) as archive:
        names = [encode(member.name) for member in archive]
    while stream.read(1 << 16):
        pass
    return iter(names), length


def _missing_folder(path: tuple[bytes, ...]) -> bytes:
    import tarfile

    member = tarfile.TarInfo(decode(b"/".join(path)))
    member.type = tarfile.DIRTYPE
    member.mode = 0o755
    member.mtime = int(time.time())
    return member.tobuf(tarfile.GNU_FORMAT, _ENCODING, _ERRORS)


def _is_root(member: TarInfo, path: tuple[bytes, ...]) -> bool:
    return member.name.strip("/") == (decode(b"/".join(path)) or ".")
