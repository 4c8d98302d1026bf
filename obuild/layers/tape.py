"""A stream that is read on and on, by numbers of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from obuild.layers.errors import ArchiveError

__all__ = ["Tape", "cut"]


class Tape:
    """Counts and hashes what passes, the rest included once ``drain`` was called."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self._before = 0
        self._hashed = hashlib.sha256()
        self.fault: OSError | None = None
        """What the source raised, which is no fault of whatever the bytes are written to."""

    @property
    def position(self) -> int:
        """The bytes taken so far."""
        return self._before + self._at

    @property
    def digest(self) -> str:
        """sha256 in hex of all that came from the source so far."""
        return self._hashed.hexdigest()

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ``ArchiveError`` if there are fewer."""
        data = self.take_up_to(size)
        if len(data) < size:
            raise cut()
        return data

    def take_up_to(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        end = self._at + size
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            return data
        return b"".join(self._some(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """``size`` bytes as they come, without being copied."""
        for piece in self._some(size):
            size -= len(piece)
            yield piece
        if size:
            raise cut()

    def skip(self, size: int) -> None:
        end = self._at + size
        if end <= len(self._piece):
            self._at = end
            return
        for _ in self.pieces(size):
            pass

    def drain(self) -> Iterator[memoryview]:
        """All that is left."""
        while self._at < len(self._piece) or self._refill():
            yield from self._some(len(self._piece) - self._at)

    def _some(self, size: int) -> Iterator[memoryview]:
        while size and (self._at < len(self._piece) or self._refill()):
            piece = memoryview(self._piece)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _refill(self) -> bool:
        while (piece := self._next()) is not None:
            if piece:
                self._before += len(self._piece)
                self._piece, self._at = piece, 0
                self._hashed.update(piece)
                return True
        return False

    def _next(self) -> bytes | None:
        try:
            return next(self._pieces, None)
        except OSError as error:
            self.fault = error
            raise


def cut() -> ArchiveError:
    return ArchiveError(
        "the archive ends in the middle",
        hint="get it again: it was cut on its way, or its disk was full",
    )
