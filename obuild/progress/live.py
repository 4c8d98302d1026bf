"""The redrawn rows at the bottom of a terminal. Importing this costs the import of rich."""

from __future__ import annotations

import io

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from obuild.progress.sink import Sink
from obuild.progress.spans import Line, cells, paint

__all__ = ["LiveArea"]


class _Rows:
    """The rows as they are now; rich asks for them at every frame."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # The text is cut to the width already. A title is no markup: it stays a plain Text.
        yield Text("\n").join(map(_to_text, self.lines))


class _Said:
    """Finished lines, painted already; as rich's own texts they would cost a hundred times."""

    def __init__(self, lines: list[Line], color: bool):
        self._text = "\n".join(paint(line, color) for line in lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text + "\n")


class LiveArea:
    """Keeps rows at the bottom while finished lines scroll up above them.

    A frame is one write. The cursor is hidden until ``stop``.
    """

    def __init__(self, sink: Sink, size: tuple[int, int], *, color: bool):
        self._sink = sink
        self._size = size
        self._color = color
        self._rows = _Rows()
        self._frame = io.StringIO()
        self._console = Console(
            file=self._frame,
            force_terminal=True,
            force_interactive=True,
            color_system="standard" if color else None,
            no_color=not color,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            width=size[0],
            height=size[1],
        )
        self._live = Live(
            self._rows,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def show(self, said: list[Line], rows: list[Line], size: tuple[int, int]) -> None:
        """Scroll up ``said``, draw ``rows`` anew in a terminal of ``size`` columns and rows."""
        if size != self._size:
            self._resize(size)
        self._rows.lines = rows
        if said:
            # Long lines are wrapped by the terminal, so that they can be copied whole.
            self._console.print(_Said(said, self._color), soft_wrap=True)
        else:
            self._live.refresh()
        self._flush()

    def stop(self, size: tuple[int, int]) -> None:
        """Take the rows away and show the cursor again."""
        if size != self._size:
            self._resize(size)
        self._rows.lines = []
        self._live.stop()
        self._flush()

    def _resize(self, size: tuple[int, int]) -> None:
        """Forget rows that a narrower terminal has wrapped, which rich would count as one each."""
        columns, height = size
        widths = [sum(cells(span.text) for span in line) for line in self._rows.lines]
        taken = sum(max(1, -(-width // columns)) for width in widths)
        if taken > len(widths) > 0:
            up = min(taken, height) - 1
            down = min(len(widths), height) - 1
            self._frame.write("\r" + f"\x1b[{up}A" * bool(up) + "\x1b[J" + "\n" * down)
        self._size = size
        self._console.size = ConsoleDimensions(columns, height)

    def _flush(self) -> None:
        self._sink.write(self._frame.getvalue())
        self._frame.seek(0)
        self._frame.truncate()


def _to_text(line: Line) -> Text:
    return Text.assemble(*((span.text, span.style) for span in line), no_wrap=True, end="")
