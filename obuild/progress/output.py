"""What a command printed, as lines that are safe to show.

A terminal acts on the bytes it gets: they move its cursor, clear it, change its title or its
colours. Nothing of that may come from a build. What is left of a line is what a reader would
have seen last: the text after the last carriage return, with backspaces carried out.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

__all__ = ["LONGEST", "LineReader", "clean", "clean_lines"]

LONGEST = 8192
"""Characters after which a line is cut into two, so that memory stays bounded."""

# Sequences of ECMA-48: control sequences, control strings, two-character escapes, each also
# in its form with a C1 character. The end of a sequence may be missing at the end of a line.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_UNUSUAL = re.compile(r"[^ -~]")
# Terminals disagree on how wide a character is that one of these follows.
_SELECTORS = re.compile("[\ufe00-\ufe0f]")


def clean(text: str) -> str:
    """One line without anything that a terminal would act upon; only printable characters."""
    if _is_clean(text):
        return text
    text = _ESCAPES.sub("", text)
    # A line that ends in a return still shows what stands before it.
    text = text.rstrip("\r\n")
    text = text[text.rfind("\r") + 1 :]
    if "\b" in text:
        text = _step_back(text)
    text = text.expandtabs()
    return text if _is_clean(text) else _UNUSUAL.sub(_replace, text)


def clean_lines(text: str) -> list[str]:
    """Every line of ``text``, cleaned; empty ones at the end are dropped."""
    return [clean(line) for line in text.rstrip().split("\n")]


def _step_back(text: str) -> str:
    kept: list[str] = []
    for char in text:
        if char != "\b":
            kept.append(char)
        elif kept:
            kept.pop()
    return "".join(kept)


def _is_clean(text: str) -> bool:
    return text.isprintable() and (text.isascii() or not _SELECTORS.search(text))


def _replace(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return "" if _SELECTORS.match(char) else char
    match unicodedata.category(char):
        case "Cc" | "Cf":
            return " " if char in "\n\v\f" else ""
        case "Zs" | "Zl" | "Zp":
            return " "
        case _:
            return "\ufffd"


class LineReader:
    """Cuts the output of one step, chunks of bytes, into lines.

    They are as they came, to be passed through ``clean`` when they are shown: most never are.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.unfinished = ""
        """The line that has no end yet, as it is now."""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        lines = (self.unfinished + self._decoder.decode(data)).split("\n")
        rest = lines.pop()
        if any(len(line) > LONGEST for line in lines):
            lines = [piece for line in lines for piece in _pieces(line)]
        if len(rest) > LONGEST:
            # Of a progress bar only the last state is worth keeping.
            *whole, rest = _pieces(rest[rest.rfind("\r", 0, -1) + 1 :])
            lines += whole
        self.unfinished = rest
        return lines

    def end_line(self) -> list[str]:
        """The unfinished line, if there is one; what follows begins a new line."""
        rest, self.unfinished = self.unfinished, ""
        return [rest] if rest else []

    def end(self) -> list[str]:
        """As ``end_line``, with what is left of a character that was cut off."""
        self.unfinished += self._decoder.decode(b"", final=True)
        return self.end_line()


def _pieces(line: str) -> list[str]:
    if len(line) <= LONGEST:
        return [line]
    return [line[i : i + LONGEST] for i in range(0, len(line), LONGEST)]
