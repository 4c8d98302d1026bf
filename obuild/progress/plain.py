"""The display for logs: whole lines, each with its step's number, nothing ever redrawn.

::

    #3 [caster] (run (shell make))      a step begins
    #3 not cached: src/bell.c: content  why it is done, if that is asked for
    #3 0.412 gcc -c bell.c              what it prints, and when, in seconds from its start
    #3 done in 1.2 s                    or: cached, FAILED after …: …, stopped after …

A line that is unfinished is held back until it ends, or the step ends, or nothing was added
to it for a second: so a prompt shows, and of a progress bar only the last state.
"""

from __future__ import annotations

from typing import assert_never

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
from obuild.progress.board import Board, StepView
from obuild.progress.calls import shell_line
from obuild.progress.output import clean, clean_lines
from obuild.progress.phrases import duration, name_stage
from obuild.progress.report import make_report, make_warning
from obuild.progress.sink import Sink
from obuild.progress.spans import Line, plain

__all__ = ["PlainForm"]

_HELD_BACK = 1.0
_PULL_NEWS = 5.0


class PlainForm:
    """Writes what came as one piece, so that lines of two steps never mix."""

    def __init__(self, sink: Sink, *, verbose: bool, explain: bool = False):
        self.sink = sink
        self._verbose = verbose
        self._explain = explain
        self._board = Board()
        self._lines: list[str] = []
        self._pulls: dict[int, tuple[float, str]] = {}

    def take(self, event: Event, at: float) -> None:
        view, lines = self._board.take(event, at)
        self._say_output(view, lines, at)
        match event:
            case StepStarted():
                self._say(view, name_stage(view.within) + view.title)
            case StepWaiting():
                self._say(view, f"waiting: {view.waiting}")
            case StepExplained():
                for reason in view.reasons if self._explain else ():
                    self._say(view, f"not cached: {reason}")
            case StepHit():
                self._say(view, "cached")
            case StepSaved():
                self._say(view, f"done in {duration(event.seconds)}")
            case StepFailed():
                self._fail(view, event)
            case EngineCalled():
                if self._verbose:
                    self._lines.extend(filter(None, clean_lines(shell_line(event))))
            case Warned():
                self._add(make_warning(event))
            case BuildFinished():
                self._lines.extend(filter(None, [self._board.summary(event)]))
                self._add(make_report(self._board, unicode=self.sink.unicode))
            case StageStarted() | StageFinished() | Heading() | StepOutput() | PullProgress():
                pass
            case _:
                assert_never(event)

    def draw(self, now: float) -> None:
        for view in list(self._board.running.values()):
            if now - view.touched >= _HELD_BACK:
                self._say_output(view, view.keep(view.reader.end_line()), view.touched)
            self._tell_pull(view, now)
        self._write()

    def finish(self, now: float) -> None:  # noqa: ARG002
        for view in self._board.running.values():
            self._say_output(view, view.keep(view.reader.end()), view.touched)
        self._add(make_report(self._board, unicode=self.sink.unicode))
        self._write()

    def _say(self, view: StepView, text: str) -> None:
        self._lines.append(f"#{view.number} {text}")

    def _say_output(self, view: StepView, lines: list[str], at: float) -> None:
        prefix = f"#{view.number} {max(0.0, at - view.since):.3f} "
        self._lines.extend((prefix + clean(line)).rstrip() for line in lines)

    def _add(self, lines: list[Line]) -> None:
        self._lines.extend(plain(line).rstrip() for line in lines)

    def _fail(self, view: StepView, event: StepFailed) -> None:
        word = "stopped" if event.cancelled else "FAILED"
        first = "".join(clean_lines(event.message)[:1])
        self._say(view, f"{word} after {duration(event.seconds)}: {first}".rstrip(": "))

    def _tell_pull(self, view: StepView, now: float) -> None:
        if view.pull is None:
            return
        told, text = self._pulls.get(view.number, (view.since, ""))
        if now - told >= _PULL_NEWS and view.pull.text != text:
            self._pulls[view.number] = now, view.pull.text
            self._say(view, f"{now - view.since:.3f} {view.pull.text}")

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self.sink.write("".join(f"{line}\n" for line in lines))
