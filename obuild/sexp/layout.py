"""Breaking lines as OCaml's ``Format`` does, so that printed specs equal OBuilder's.

This is Oppen's pretty printing algorithm ("Prettyprinting", ACM TOPLAS 2(4), 1980) with the
boxes of ``Format`` and its defaults: 78 columns, no indentation beyond 68. Text is queued
until it is known whether what it belongs to fits on the line; a box or blank whose size is
still open counts as endless as soon as what is queued behind it fills the line.

Boxes: ``h`` never breaks, ``v`` breaks at every blank, ``hv`` at every blank or at none,
``box`` at a blank after which the text would not fit, or where a break would indent less.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Layout"]

_MARGIN = 78
_MAX_INDENT = 68
_ENDLESS = 1 << 40


class _Item:
    """Something queued. ``size`` is negative while it is open (minus where it began)."""

    __slots__ = ("argument", "kind", "length", "size")

    def __init__(self, kind: str, size: int, length: int, argument: str | int | tuple[str, int]):
        self.kind, self.size, self.length, self.argument = kind, size, length, argument


class Layout:
    """A document under construction; ``finish`` gives its text."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._queue: deque[_Item] = deque()
        self._open_items: list[tuple[int, _Item]] = []
        self._queued = self._printed = 1
        self._boxes: list[tuple[str, int]] = []
        self._space = _MARGIN
        self._indent = 0
        self._fresh_line = True
        self._depth = 0
        self.open("hov", 0)

    def text(self, text: str) -> None:
        self._enqueue(_Item("text", len(text), len(text), text))
        self._advance()

    def newline(self) -> None:
        """A line break in any box."""
        self._enqueue(_Item("newline", 0, 0, ""))
        self._advance()

    def blank(self, width: int = 1) -> None:
        """``width`` blanks, or a line break."""
        self._begin(_Item("blank", -self._queued, width, width), ends_blank=True)

    def open(self, kind: str, indent: int) -> None:
        """Open a box; what breaks in it is indented by ``indent`` from where it opens."""
        self._depth += 1
        self._begin(_Item("open", -self._queued, 0, (kind, indent)), ends_blank=False)

    def close(self) -> None:
        self._depth -= 1
        self._enqueue(_Item("close", 0, 0, ""))
        self._settle("blank")
        self._settle("open")

    def finish(self) -> str:
        while self._depth:
            self.close()
        self._queued = _ENDLESS
        self._advance()
        return "".join(self._out)

    def _enqueue(self, item: _Item) -> None:
        self._queued += item.length
        self._queue.append(item)

    def _begin(self, item: _Item, *, ends_blank: bool) -> None:
        self._enqueue(item)
        if ends_blank:
            self._settle("blank")
        self._open_items.append((self._queued, item))

    def _settle(self, kind: str) -> None:
        """The innermost open item ends here, if it is of that kind: its size is known."""
        if not self._open_items:
            return
        began, item = self._open_items[-1]
        if began < self._printed:
            self._open_items.clear()  # all of them are printed: their sizes came too late
        elif item.kind == kind:
            item.size += self._queued
            self._open_items.pop()

    def _advance(self) -> None:
        while self._queue:
            item = self._queue[0]
            if item.size < 0 and self._queued - self._printed < self._space:
                return
            self._queue.popleft()
            self._print(item, item.size if item.size >= 0 else _ENDLESS)
            self._printed += item.length

    def _print(self, item: _Item, size: int) -> None:
        match item.kind, item.argument:
            case "text", str(text):
                self._space -= size
                self._out.append(text)
                self._fresh_line = False
            case "open", (str(kind), int(indent)):
                self._print_open(kind, indent, size)
            case "close", _:
                self._boxes.pop()
            case "newline", _:
                self._break(self._boxes[-1][1])
            case "blank", int(width):
                self._print_blank(width, size)

    def _print_open(self, kind: str, indent: int, size: int) -> None:
        if _MARGIN - self._space > _MAX_INDENT and self._boxes:
            outer, width = self._boxes[-1]
            if width > self._space and outer not in ("fits", "h"):
                self._break(width)
        fits = kind != "v" and size <= self._space
        self._boxes.append(("fits" if fits else kind, self._space - indent))

    def _print_blank(self, width: int, size: int) -> None:
        kind, room = self._boxes[-1]
        match kind:
            case "v" | "hv":
                breaks = True
            case "hov":
                breaks = size > self._space
            case "box":
                breaks = not self._fresh_line and (
                    size > self._space or self._indent > _MARGIN - room
                )
            case _:
                breaks = False
        if breaks:
            self._break(room)
        else:
            self._space -= width
            self._out.append(" " * width)

    def _break(self, room: int) -> None:
        self._indent = min(_MAX_INDENT, _MARGIN - room)
        self._space = _MARGIN - self._indent
        self._out.append("\n" + " " * self._indent)
        self._fresh_line = True
