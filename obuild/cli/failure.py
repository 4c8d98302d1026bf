"""Drawing an error: where, the excerpt with a caret, what is wrong, what to do."""

from __future__ import annotations

import os
from typing import TextIO

from obuild.errors import ObuildError

__all__ = ["colors", "draw"]

_BOLD_RED, _BOLD, _BLUE, _RESET = "\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[0m"


def colors(stream: TextIO) -> bool:
    """Whether to colour what goes to ``stream`` (see https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def draw(error: ObuildError, stream: TextIO, label: str = "error") -> None:
    """Write an error as a few lines. A stream that is gone is let be: nobody reads it."""
    lines = _lines(error, label, color=colors(stream))
    try:
        stream.write("".join(f"{_printable(line)}\n" for line in lines))
        stream.flush()
    except BrokenPipeError:
        return


def _lines(error: ObuildError, label: str, *, color: bool) -> list[str]:
    red, bold, blue, reset = (_BOLD_RED, _BOLD, _BLUE, _RESET) if color else ("",) * 4
    first, *more = error.message.split("\n")
    lines = [f"obuild: {red}{label}:{reset} {bold}{first}{reset}"]
    lines += [f"  {line}" for line in more]
    if error.place is not None:
        number = str(error.place.line)
        gap = " " * len(number)
        text, carets = error.place.excerpt()
        lines += [
            f"{gap}{blue}-->{reset} {error.place}",
            f"{blue}{number} |{reset} {text}",
            f"{blue}{gap} |{reset} {red}{carets}{reset}",
        ]
    if error.hint is not None:
        lines.append(f"  {blue}hint:{reset} {error.hint}")
    return lines


def _printable(line: str) -> str:
    """No byte of the user's may act on the terminal; our own colours may."""
    return "".join(
        c if c.isprintable() or c == "\x1b" else f"\\x{ord(c):02x}"
        for c in line.encode("utf-8", "replace").decode("utf-8")
    )
