"""The display on a terminal: finished steps scroll up, what is in work is redrawn below.

rich draws the redrawn part. It is loaded when a step has been in work for a while, so a build
of cache hits never pays for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, assert_never

from obuild.events import (
    BuildFinished,
    EngineCalled,
    Event,
    Heading,
    PullProgress,
    StageFinished,
    StageStarted,
    StepExplained,
    StepFailed,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
    Warned,
)
from obuild.progress.area import Look, head, rows
from obuild.progress.board import Board, StepView
from obuild.progress.calls import shell_line
from obuild.progress.output import clean, clean_lines
from obuild.progress.phrases import duration
from obuild.progress.report import make_report, make_warning
from obuild.progress.sink import Sink
from obuild.progress.spans import Line, Span, paint

if TYPE_CHECKING:
    from obuild.progress.live import LiveArea

__all__ = ["TtyForm"]

_FRAME = 0.1
_PATIENCE = 0.15
_SMALLEST = (5, 2)


class TtyForm:
    """Draws at most ten frames a second; nothing it writes is taller than the screen."""

    def __init__(
        self, sink: Sink, *, color: bool, verbose: bool, width: int | None, explain: bool = False
    ):
        self.sink = sink
        self._color = color
        self._verbose = verbose
        self._explain = explain
        self._width = width
        self._look = Look.of(sink.unicode)
        self._board = Board()
        self._said: list[Line] = []
        self._live: LiveArea | None = None
        self._since = time.monotonic()
        self._drawn = 0.0

    def take(self, event: Event, at: float) -> None:
        view, lines = self._board.take(event, at)
        match event:
            case StepOutput(replayed=True):
                self._say_replayed(view, lines)
            case StepHit():
                self._say_replayed(view, lines if view.replayed else [])
                self._finish(view, Span(self._look.good, "green dim"), Span("cached", "dim"))
            case StepSaved():
                took = Span(duration(event.seconds))
                self._finish(view, Span(self._look.good, "green bold"), took)
                self._say_reasons(view)
            case StepFailed():
                self._fail(view, event)
            case EngineCalled():
                if self._verbose:
                    told = filter(None, clean_lines(shell_line(event)))
                    self._said.extend((Span(line, "dim"),) for line in told)
            case Warned():
                self._said.extend(make_warning(event))
            case BuildFinished():
                self._end(self._board.summary(event), event.key is not None)
            case StageStarted() | StageFinished() | Heading():
                pass
            case StepStarted() | StepWaiting() | StepExplained() | StepOutput() | PullProgress():
                pass
            case _:
                assert_never(event)

    def draw(self, now: float) -> None:
        if now - self._drawn < _FRAME:
            return
        self._drawn = now
        if self._live is None and self._is_slow(now):
            from obuild.progress.live import LiveArea

            self._live = LiveArea(self.sink, self._size(), color=self._color)
        if self._live is None:
            self._write_said()
        else:
            size = self._size()
            area = rows(self._board, now, self._since, size, self._look)
            self._live.show(self._take_said(), area, size)

    def finish(self, now: float) -> None:  # noqa: ARG002
        self._end("", False)

    def _is_slow(self, now: float) -> bool:
        """Whether there is something to redraw, and a place for it."""
        columns, height = self._size()
        if columns < _SMALLEST[0] or height < _SMALLEST[1]:
            return False
        return any(now - view.since > _PATIENCE for view in self._board.running.values())

    def _size(self) -> tuple[int, int]:
        columns, height = self.sink.size()
        return self._width or columns, height

    def _say_replayed(self, view: StepView, lines: list[str]) -> None:
        if not view.replayed:
            if not lines:
                return
            view.replayed = True
            self._finish(view, Span(" "), Span("from its log", "dim"))
        gutter = Span(f"  {self._look.gutter} ", "dim")
        self._said.extend((gutter, Span(clean(line), "dim")) for line in lines)

    def _finish(self, view: StepView, mark: Span, right: Span) -> None:
        self._said.append(head(mark, view, right, self._size()[0] - 1, self._look))

    def _say_reasons(self, view: StepView) -> None:
        """Below the line of a step that ended, why it had to be done."""
        if self._explain:
            self._said.extend((Span(f"    {reason}", "dim"),) for reason in view.reasons)

    def _fail(self, view: StepView, event: StepFailed) -> None:
        took = duration(event.seconds)
        if event.cancelled:
            mark = Span(self._look.stopped, "yellow")
            self._finish(view, mark, Span(f"stopped {took}", "yellow"))
        else:
            self._finish(view, Span(self._look.bad, "red bold"), Span(f"failed {took}", "red bold"))
        self._say_reasons(view)

    def _end(self, summary: str, good: bool) -> None:
        """Leave the terminal as it was, then write what shall stay on it."""
        if self._live is not None:
            self._live.stop(self._size())
            self._live = None
        if summary:
            self._said.append((Span(summary, "green" if good else "red"),))
        self._said.extend(make_report(self._board, unicode=self.sink.unicode))
        self._write_said()

    def _take_said(self) -> list[Line]:
        said, self._said = self._said, []
        return said

    def _write_said(self) -> None:
        self.sink.write("".join(paint(line, self._color) + "\n" for line in self._take_said()))
