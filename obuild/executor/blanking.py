"""Taking the values of secrets out of what a step prints."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["BLANK", "Blanking"]

BLANK = b"***"
_SHORTEST_LINE = 16
"""A line of a value, as a key's: shorter ones may be words of any text."""
_SHORTEST = 4
"""Shorter values would blank half of any text, and tell more by that than they hide."""


class Blanking:
    """Blanks known values in a stream of bytes, however it is cut into pieces.

    ``values`` are the secrets of the whole build; of each, the value itself, the value
    without the white space at its ends, which is how commands mostly print it, and each long
    line of it.
    """

    def __init__(self, values: Iterable[bytes]):
        found = {form for value in values for form in _forms(value)}
        # The longest first: a value may be the beginning of another.
        self._values = sorted((v for v in found if len(v) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._values)))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown by now. The beginning of a value at the end is held back."""
        if not self._values:
            return data
        text = self._held + data
        keep = self._beginning(text)
        # A whole value may end just where the beginning of another, or of a longer form of
        # the same, is held back: no cut may go through it.
        cut = len(text) - keep
        for match in self._pattern.finditer(text):
            if match.start() < cut < match.end():
                cut = match.start()
        self._held = text[cut:]
        return self._pattern.sub(BLANK, text[:cut])

    def end(self) -> bytes:
        """What was held back: no more will come."""
        rest, self._held = self._held, b""
        return self._pattern.sub(BLANK, rest) if self._values else rest

    def _beginning(self, text: bytes) -> int:
        """The length of the longest end of ``text`` that begins one of the values."""
        return max(_overlap(text, value) for value in self._values)


def _forms(value: bytes) -> Iterable[bytes]:
    lines = [line.strip() for line in value.splitlines()]
    return value, value.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)


def _overlap(text: bytes, value: bytes) -> int:
    """How much of an end of ``text`` is the beginning of ``value``, but not all of it."""
    tail = text[1 - len(value) :]
    start = tail.find(value[:1])
    while start >= 0:
        if value.startswith(tail[start:]):
            return len(tail) - start
        start = tail.find(value[:1], start + 1)
    return 0
