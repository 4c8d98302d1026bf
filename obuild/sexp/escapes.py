"""Undoing the escapes of a quoted string."""

from __future__ import annotations

import re

from obuild.source import decode

__all__ = ["Malformed", "unescape"]

_ESCAPE = re.compile(
    rb"\\(?:(?P<newline>\r?\n[ \t]*)|(?P<decimal>[0-9]{3})|x(?P<hex>[0-9a-fA-F]{2})"
    rb"|(?P<letter>[\\\"'ntbr\r])|(?P<bad>[0-9]|x)|(?P<other>[\s\S]))"
)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"r": b"\r"}


class Malformed(Exception):
    """What stands at ``start`` to ``end`` of the text is no escape."""

    def __init__(self, message: str, start: int, end: int):
        super().__init__(message)
        self.start, self.end = start, end


def unescape(raw: bytes, start: int) -> str:
    """The content of a string that stands at ``start``, without its quotes.

    Raises ``Malformed`` for an escape that means nothing.
    """
    if b"\\" not in raw:
        return decode(raw)

    def undo(match: re.Match[bytes]) -> bytes:
        at = start + match.start()
        if match["newline"] is not None:
            return b""
        if match["decimal"] is not None:
            code = int(match["decimal"])
            if code > 255:
                raise Malformed(f"\\{code} is no byte: the greatest is \\255", at, at + 4)
            return bytes([code])
        if match["hex"] is not None:
            return bytes([int(match["hex"], 16)])
        if match["bad"] is not None:
            digits = "two hexadecimal digits" if match["bad"] == b"x" else "three decimal digits"
            raise Malformed(f"\\{match['bad'].decode()} needs {digits}", at, at + 2)
        if match["letter"] is not None:
            return _LETTERS.get(match["letter"], match["letter"])
        return match[0]  # a backslash before any other character is a backslash

    return decode(_ESCAPE.sub(undo, raw))
