"""A terminal as far as the displays use one; anything else that reaches it is a failure."""

from __future__ import annotations

import codecs
import re
import unicodedata

_TOKEN = re.compile(
    r"(?P<up>\x1b\[(?P<n>\d+)A)|(?P<erase>\x1b\[2K)|(?P<below>\x1b\[J)"
    r"|(?P<cursor>\x1b\[\?25(?P<on>[hl]))|(?P<colour>\x1b\[(?P<codes>[\d;]*)m)"
    r"|(?P<nl>\r?\n)|(?P<cr>\r)|(?P<char>[^\x00-\x1f\x7f-\x9f])"
)
_CUT_OFF = re.compile(r"(\x1b(\[[?\d;]*)?)?\Z")
_SECOND_HALF = "\0"


class Row:
    def __init__(self) -> None:
        self.text = ""


class Screen:
    """Rows, the oldest first; those above the last ``height`` have scrolled off."""

    def __init__(self, columns: int = 80, height: int = 24):
        self.columns, self.height = columns, height
        self.rows = [Row()]
        self.row = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self.column = 0
        self.cursor = True
        self.coloured = False

    def feed(self, data: bytes) -> None:
        text, at = self._rest + self._decoder.decode(data), 0
        end = len(text) - len(_CUT_OFF.search(text)[0])  # type: ignore[index]
        text, self._rest = text[:end], text[end:]
        while at < len(text):
            token = _TOKEN.match(text, at)
            assert token, f"a terminal must not be sent {text[at : at + 8]!r}"
            self._obey(token)
            at = token.end()

    def lines(self) -> list[str]:
        return [row.text.replace(_SECOND_HALF, "").rstrip() for row in self.rows]

    def show(self) -> str:
        """What a user sees, with what scrolled off."""
        return "\n".join(self.lines()).rstrip("\n")

    def resize(self, columns: int) -> None:
        """Wrap rows anew, as most terminals do; the cursor stays with its text."""
        self.columns = columns
        rows: list[Row] = []
        cursor = 0
        for i, row in enumerate(self.rows):
            chunks = [row.text[j : j + columns] for j in range(0, len(row.text), columns)] or [""]
            for chunk in chunks:
                rows.append(Row())
                rows[-1].text = chunk
            if i == self.row:
                cursor = len(rows) - 1
        self.rows, self.row = rows, cursor
        self.column = min(self.column, columns)

    def _obey(self, token: re.Match[str]) -> None:
        match token.lastgroup:
            case "up" | "n":
                self._climb(int(token["n"]))
            case "erase":
                self.rows[self.row] = Row()
            case "below":
                del self.rows[self.row + 1 :]
                self.rows[self.row].text = self.rows[self.row].text[: self.column]
            case "cursor" | "on":
                self.cursor = token["on"] == "h"
            case "colour" | "codes":
                self.coloured = token["codes"] not in ("", "0")
            case "nl":
                self._feed_line()
            case "cr":
                self.column = 0
            case _:
                self._put(token["char"])

    def _climb(self, count: int) -> None:
        top = max(0, len(self.rows) - self.height)
        assert self.row - count >= top, "the cursor went above the screen"
        self.row -= count

    def _feed_line(self) -> None:
        self.column = 0
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append(Row())

    def _put(self, char: str) -> None:
        if unicodedata.category(char) in ("Mn", "Me"):
            return  # joins the character before it
        wide = unicodedata.east_asian_width(char) in "WF"
        if self.column + 1 + wide > self.columns:
            self._feed_line()
        cell = char + _SECOND_HALF * wide
        end = self.column + len(cell)
        row = self.rows[self.row]
        row.text = row.text[: self.column].ljust(self.column) + cell + row.text[end:]
        self.column = end
