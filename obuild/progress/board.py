"""Where a build stands: the steps in work, the end of what they printed, what failed."""

from __future__ import annotations

from collections import deque

from obuild.events import (
    BuildFinished,
    Event,
    PullProgress,
    StepExplained,
    StepFailed,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
)
from obuild.progress.output import LineReader, clean
from obuild.progress.phrases import summarise
from obuild.progress.pull import Pull

__all__ = ["TAIL", "Board", "StepView"]

TAIL = 20
"""Lines of a step's output that are kept for the report of its failure."""


class StepView:
    """One step while it is in work. ``since`` and ``touched`` are monotonic times."""

    def __init__(
        self,
        number: int,
        within: tuple[str, ...] = (),
        title: str = "",
        key: str = "",
        where: str | None = None,
        since: float = 0.0,
    ):
        self.number = number
        self.within = within
        self.title = title
        self.key = key
        self.where = where
        self.since = self.touched = since
        self.waiting = ""
        self.reasons: list[str] = []
        """Why it is not taken from the store, cleaned."""
        self.replayed = False
        self.pull: Pull | None = None
        self.count = 0
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.reader = LineReader()

    def keep(self, lines: list[str]) -> list[str]:
        """Add raw lines to the tail; returns them."""
        self.tail.extend(lines)
        self.count += len(lines)
        return lines

    def last_lines(self, most: int) -> list[str]:
        """What a terminal would show now, cleaned; blank lines at the end are left out."""
        raw = [*self.tail, self.reader.unfinished]
        lines: list[str] = []
        while raw and len(lines) < most:
            line = clean(raw.pop())
            if lines or line.strip():
                lines.append(line)
        return lines[::-1]


class Board:
    """The state of a build, from its events."""

    def __init__(self) -> None:
        self.running: dict[int, StepView] = {}
        self.hits = self.saved = self.failed = self.stopped = 0
        self.unreported: list[tuple[StepView, StepFailed]] = []
        """The steps that did not get through, until their report is made."""

    def take(self, event: Event, at: float) -> tuple[StepView, list[str]]:
        """The step that ``event`` belongs to (a blank one if to none), and its new raw lines."""
        match event:
            case StepStarted():
                return self._start(event, at), []
            case StepWaiting() | StepExplained() | StepOutput() | PullProgress():
                view = self._view(event.step, at)
                view.touched = at
                return view, view.keep(_note(view, event))
            case StepHit() | StepSaved() | StepFailed():
                view = self._view(event.step, at)
                lines = view.keep(view.reader.end())
                self._end(view, event)
                return view, lines
            case _:
                return StepView(0), []

    def summary(self, event: BuildFinished) -> str:
        # The builder may know of steps that were counted in no event, never of fewer.
        hits, saved = max(event.hits, self.hits), max(event.saved, self.saved)
        return summarise(hits, saved, self.failed, self.stopped, event.seconds)

    def _start(self, event: StepStarted, at: float) -> StepView:
        view = StepView(
            event.step,
            within=tuple(map(clean, event.within)),
            title=clean(event.title.replace("\n", " ")),
            key=event.key,
            where=event.where,
            since=at,
        )
        self.running[event.step] = view
        return view

    def _view(self, step: int, at: float) -> StepView:
        return self.running.get(step) or self._start(StepStarted(step, (), "", "", ""), at)

    def _end(self, view: StepView, event: StepHit | StepSaved | StepFailed) -> None:
        self.running.pop(view.number, None)
        match event:
            case StepHit():
                self.hits += 1
            case StepSaved():
                self.saved += 1
            case StepFailed():
                self.stopped += event.cancelled
                self.failed += not event.cancelled
                self.unreported.append((view, event))


def _note(
    view: StepView, event: StepWaiting | StepExplained | StepOutput | PullProgress
) -> list[str]:
    match event:
        case StepWaiting():
            view.waiting = clean(event.reason)
            return []
        case StepExplained():
            view.reasons = [clean(reason.replace("\n", " ")) for reason in event.reasons]
            return []
        case PullProgress():
            view.waiting = ""
            view.pull = view.pull or Pull()
            view.pull.take(event)
            return []
        case StepOutput():
            view.waiting = ""
            return view.reader.feed(event.data)
