"""Parts of blobs: files that are written, each locked by whoever writes it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from threading import Event

from obuild.errors import Cancelled, ImageError, StoreError
from obuild.images.content import hex_of

__all__ = ["Incoming", "WrongContent", "is_current", "locked", "store_error", "write_all"]

_CHUNK = 1 << 20


class WrongContent(ImageError):
    """What came for a digest is something else."""

    def __init__(self, message: str):
        super().__init__(
            message,
            hint="try again; if it stays so, the registry, or a proxy before it, is broken",
        )


class Incoming:
    """A blob that is being written. ``offset`` is how many bytes of it are there.

    ``there``: it is there whole, since somebody else got it; nothing is to be written.
    """

    def __init__(self, digest: str, size: int | None, part: int | None, folder: Path):
        self.digest = digest
        self.there = part is None
        self.offset = size or 0 if part is None else 0
        self._size = size
        self._part = part
        self._hashed = hashlib.sha256()
        self._folder = folder

    def resume(self, cancel: Event) -> None:
        """Take in what an earlier try left."""
        assert self._part is not None
        while piece := os.pread(self._part, _CHUNK, self.offset):
            self._hashed.update(piece)
            self.offset += len(piece)
            if cancel.is_set():
                raise Cancelled("the pull was cancelled")
        os.lseek(self._part, self.offset, os.SEEK_SET)
        if self._size is not None and self.offset > self._size:
            self.restart()

    def restart(self) -> None:
        """Forget what there is, and begin at the first byte."""
        if self._part is None:
            return
        try:
            os.truncate(self._part, 0)
            os.lseek(self._part, 0, os.SEEK_SET)
        except OSError as error:
            raise store_error(self._folder, error) from error
        self._hashed = hashlib.sha256()
        self.offset = 0

    def write(self, piece: bytes) -> None:
        """Raises ``ImageError`` as soon as there is more than there should be; ``StoreError``."""
        if self._part is None:
            return
        if self._size is not None and self.offset + len(piece) > self._size:
            self.restart()
            raise WrongContent(f"what came for {self.digest} is larger than its {self._size} bytes")
        try:
            write_all(self._part, piece)
        except OSError as error:
            raise store_error(self._folder, error) from error
        self._hashed.update(piece)
        self.offset += len(piece)

    def wrong(self) -> str | None:
        """What is wrong with it now that it should be whole; None: nothing."""
        if self._size is not None and self.offset != self._size:
            return f"{self.offset} bytes, not {self._size}"
        if self._hashed.hexdigest() != hex_of(self.digest):
            return f"its digest is sha256:{self._hashed.hexdigest()}"
        return None


def write_all(part: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(part, left) :]


def locked(path: Path, *, create: bool = True) -> int | None:
    """The file at ``path``, open and locked; None while somebody else has it."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_current(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder renamed or removed it before letting go


def is_current(path: Path, descriptor: int) -> bool:
    """Whether the name still leads to the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def store_error(folder: Path, error: OSError) -> StoreError:
    hint = f"see that {folder} can be written, and that its disk works"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"make room on the file system of {folder}, or give another --store"
    return StoreError(f"{folder} cannot be used: {error.strerror or error}", hint=hint)
