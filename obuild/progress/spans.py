"""Lines as styled pieces, before anybody decides how they reach a terminal."""

from __future__ import annotations

import unicodedata

from obuild.values import Value

__all__ = ["Line", "Span", "cells", "cut", "justify", "paint", "plain"]

_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}


class Span(Value):
    """Printable text; ``style`` is words of ``red green yellow cyan bold dim``."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal, never too few."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(line: Line, width: int, ellipsis: str = "…") -> Line:
    """``line`` in at most ``width`` columns; what is cut off leaves an ellipsis."""
    if sum(cells(span.text) for span in line) <= width:
        return line
    room = max(0, width - cells(ellipsis))
    kept: list[Span] = []
    for span in line:
        text = _prefix(span.text, room)
        room -= cells(text)
        kept.append(Span(text, span.style))
        if text != span.text:
            break
    if width >= cells(ellipsis):
        kept.append(Span(ellipsis, kept[-1].style))
    return tuple(kept)


def _prefix(text: str, room: int) -> str:
    if text.isascii():
        return text[:room]
    for i, char in enumerate(text):
        room -= _cells(char)
        if room < 0:
            return text[:i]
    return text


def justify(left: Line, right: Span, width: int, ellipsis: str = "…") -> Line:
    """``left`` and at the right margin ``right``, which goes first where there is no room."""
    room = width - cells(right.text) - 1
    if room < 10:
        return cut(left, width, ellipsis)
    left = cut(left, room, ellipsis)
    gap = width - cells(right.text) - sum(cells(span.text) for span in left)
    return (*left, Span(" " * gap), right)


def plain(line: Line) -> str:
    return "".join(span.text for span in line)


def paint(line: Line, color: bool) -> str:
    """``line`` with the escape codes of its styles; each is reset where it ends."""
    if not color:
        return plain(line)
    return "".join(_paint(span) for span in line)


def _paint(span: Span) -> str:
    if not span.style or not span.text:
        return span.text
    codes = ";".join(_CODES[word] for word in span.style.split())
    return f"\x1b[{codes}m{span.text}\x1b[0m"
