"""Texts that users wrote, and places in them.

A place is a half-open range of byte offsets in the text of one file. It rides beside the
values made from the text and is never part of their identity.
"""

from __future__ import annotations

from obuild.values import Value, field

__all__ = ["Place", "Text", "decode", "encode", "readable"]

_MAX_EXCERPT = 160


def decode(data: bytes) -> str:
    """Bytes of any kind as a string that ``encode`` turns back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes that ``decode`` made ``text`` of."""
    return text.encode("utf-8", "surrogateescape")


class Text(Value):
    """The content of one file, under the name by which the user called it."""

    name: str
    data: bytes = field(repr=False)


class Place(Value):
    """Bytes ``start`` to ``end`` (excluded) of ``text``."""

    text: Text
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the start, from 1."""
        return self.text.data.count(b"\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """Column of the start in characters, from 1."""
        line_start = self.text.data.rfind(b"\n", 0, self.start) + 1
        return len(_printable(self.text.data[line_start : self.start])) + 1

    def __str__(self) -> str:
        return f"{self.text.name}:{self.line}:{self.column}"

    def excerpt(self) -> tuple[str, str]:
        """The first line of the place, and a line that marks the place with carets.

        Both are printable: control characters become spaces, bytes that are not UTF-8
        become U+FFFD, and a long line is cut around the place.
        """
        data = self.text.data
        line_start = data.rfind(b"\n", 0, self.start) + 1
        line_end = data.find(b"\n", self.start)
        if line_end < 0:
            line_end = len(data)
        before = _printable(data[max(line_start, self.start - 4 * _MAX_EXCERPT) : self.start])
        marked = _printable(data[self.start : max(min(self.end, line_end), self.start)])
        after = _printable(data[self.start + len(marked.encode()) : line_end][:_MAX_EXCERPT])
        if len(before) > _MAX_EXCERPT // 2:
            before = "…" + before[1 - _MAX_EXCERPT // 2 :]
        marked = marked[: _MAX_EXCERPT // 2]
        line = (before + marked + after)[:_MAX_EXCERPT].rstrip()
        carets = max(1, min(len(marked), len(line) - len(before)))
        return line, " " * len(before) + "^" * carets


def readable(text: str) -> str:
    """The text for a person, or for JSON: bytes that are not UTF-8 become U+FFFD."""
    return encode(text).decode("utf-8", "replace")


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)
