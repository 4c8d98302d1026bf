"""Opening folders of the context one below the other, never through a symbolic link."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from obuild.errors import ContextError
from obuild.source import encode

__all__ = ["Folders", "open_file"]

# O_PATH needs no read permission, only search permission on the folders above: a file in a
# folder that may be entered but not listed can be copied. Where it is missing, read.
_ENTER = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_KEPT_OPEN = 32
_CLOSED = -1


def open_file(name: bytes, folder: int) -> int:
    """A descriptor for reading the entry ``name`` of an open folder; never waits on a FIFO."""
    return os.open(name, _READ, dir_fd=folder)


class Folders:
    """The open folders on the way to the one in use; close by leaving the ``with`` block.

    Going from a folder to one near it opens only the folders between them. The root
    and the 32 lowest are kept open, however deep the tree. Not for use by several threads.
    """

    def __init__(self, root: bytes, identity: tuple[int, int] | None = None):
        """Open ``root``; ``identity`` is the device and inode that it must have.

        Raises ``OSError``, and ``ContextError`` if it is another folder by now.
        """
        self._parts: list[str] = []
        self._fds = [os.open(root, os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY))]
        self._path: str | None = ""
        status = os.fstat(self._fds[0])
        if identity not in (None, (status.st_dev, status.st_ino)):
            self.close()
            raise ContextError(
                "The build context was replaced by another folder while it was in use.",
                hint="Run the build again.",
            )

    def folder(self, path: str) -> int:
        """The folder ``path`` of the context (empty: the context itself), open for entering.

        The descriptor is valid until the next call. Raises ``OSError`` where the path leads
        through something that is no folder, links included.
        """
        if path != self._path:
            self._path = None  # until it is reached: opening may fail on the way
            self._enter(path.split("/") if path else [])
            self._path = path
        return self._fds[-1]

    def names(self, path: str) -> list[bytes]:
        """The names in that folder, in no order. Raises ``OSError``."""
        listing = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.folder(path))
        try:
            return [os.fsencode(name) for name in os.listdir(listing)]
        finally:
            os.close(listing)

    def _enter(self, parts: list[str]) -> None:
        while self._fds[-1] == _CLOSED or self._parts != parts[: len(self._parts)]:
            self._leave()
        for part in parts[len(self._parts) :]:
            fd = os.open(encode(part), _ENTER, dir_fd=self._fds[-1])
            self._fds.append(fd)
            self._parts.append(part)
            far = len(self._fds) - 1 - _KEPT_OPEN
            if far > 0:
                os.close(self._fds[far])
                self._fds[far] = _CLOSED

    def _leave(self) -> None:
        fd = self._fds.pop()
        if fd != _CLOSED:
            os.close(fd)
        if self._fds:
            self._parts.pop()

    def close(self) -> None:
        while self._fds:
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
