"""The display that says only what went wrong: warnings, and the report of a failure."""

from __future__ import annotations

from obuild.events import BuildFinished, Event, Warned
from obuild.progress.board import Board
from obuild.progress.report import make_report, make_warning
from obuild.progress.sink import Sink
from obuild.progress.spans import Line, paint

__all__ = ["QuietForm"]


class QuietForm:
    def __init__(self, sink: Sink, *, color: bool):
        self.sink = sink
        self._color = color
        self._board = Board()

    def take(self, event: Event, at: float) -> None:
        self._board.take(event, at)
        match event:
            case Warned():
                self._write(make_warning(event))
            case BuildFinished():
                self._write(make_report(self._board, unicode=self.sink.unicode))

    def draw(self, now: float) -> None:
        pass

    def finish(self, now: float) -> None:  # noqa: ARG002
        self._write(make_report(self._board, unicode=self.sink.unicode))

    def _write(self, lines: list[Line]) -> None:
        self.sink.write("".join(paint(line, self._color) + "\n" for line in lines))
