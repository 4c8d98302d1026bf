"""A stream that may go away: what is written to a closed pipe is dropped, and remembered."""

from __future__ import annotations

import io
import os
import select
from typing import IO, cast

__all__ = ["DEFAULT_SIZE", "Sink"]

DEFAULT_SIZE = (80, 24)


class Sink:
    """Writes text or bytes to ``stream``, whether it takes the one or the other.

    The first write that fails sets ``broken``, and nothing is written after it: a reader
    that has seen enough (``| head``), a terminal that was closed, a full disk.
    """

    def __init__(self, stream: IO[str] | IO[bytes]):
        self._stream = stream
        self._chars, self._bytes = _layers(stream)
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self.broken = False

    @property
    def unicode(self) -> bool:
        """Whether the marks and lines of the displays can be written to the stream."""
        try:
            "✔✘…│━⠋".encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal; 80 and 24 where there is none or it cannot say."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return DEFAULT_SIZE
        return columns or DEFAULT_SIZE[0], rows or DEFAULT_SIZE[1]

    def write(self, text: str) -> None:
        """Write at once; characters that the stream's encoding has not become ``?``."""
        self.write_bytes(text.encode(self.encoding, "replace"))

    def write_bytes(self, data: bytes) -> None:
        """Write at once; to a stream that takes text only, as text."""
        if self.broken or not data:
            return
        try:
            self._push(data)
        except (OSError, ValueError):  # ValueError: the file object was closed
            self.broken = True

    def _push(self, data: bytes) -> None:
        """All of ``data``, also where another program made the stream non-blocking."""
        if self._bytes is None:
            assert self._chars is not None
            self._chars.write(data.decode(self.encoding, "replace"))
            self._chars.flush()
            return
        rest = memoryview(data)
        while rest:
            try:
                # A raw stream says None where a buffered one raises.
                written = self._bytes.write(rest) or 0
            except BlockingIOError as error:
                written = error.characters_written
            rest = rest[written:]
            if not written:
                self._wait()
        while not self._flushed(self._bytes):
            self._wait()

    def _flushed(self, stream: IO[bytes]) -> bool:
        try:
            stream.flush()
        except BlockingIOError:
            return False
        return True

    def _wait(self) -> None:
        select.select([], [self._stream.fileno()], [], 1)


def _layers(stream: IO[str] | IO[bytes]) -> tuple[IO[str] | None, IO[bytes] | None]:
    """The stream as one of text and as one of bytes, as far as it is either."""
    if not isinstance(stream, io.TextIOBase) and not hasattr(stream, "encoding"):
        return None, cast("IO[bytes]", stream)
    return cast("IO[str]", stream), getattr(stream, "buffer", None)
