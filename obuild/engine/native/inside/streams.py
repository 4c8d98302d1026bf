"""The two ends of a task's streams, and its answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from obuild import errors
from obuild.errors import ObuildError

__all__ = ["Streams"]

_CHUNK = 1 << 18


class Streams:
    """``given`` and ``shown`` are descriptors: what the task reads and what it writes."""

    def __init__(self, given: int, shown: int, answer: int):
        self.given = given
        self.shown = shown
        self._answer = answer

    def pieces(self) -> Iterator[bytes]:
        """What comes in, to its end."""
        while piece := os.read(self.given, _CHUNK):
            yield piece

    def write(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[os.write(self.shown, left) :]

    def close_output(self) -> None:
        os.close(self.shown)

    def tell(self, answer: dict[str, Any]) -> None:
        """A part of the answer, the last one by returning it."""
        data = memoryview(json.dumps(answer).encode() + b"\n")
        while data:
            data = data[os.write(self._answer, data) :]

    def fail(self, error: ObuildError) -> None:
        # The other side knows the classes of that module only.
        kinds = (
            each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__
        )
        self.tell({"error": next(kinds), "message": error.message, "hint": error.hint})
