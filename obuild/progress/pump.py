"""One thread for each display, so that no step waits for a terminal and no line is torn."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Thread, current_thread
from typing import Protocol

from obuild.events import Event, StepOutput
from obuild.progress.sink import Sink

__all__ = ["Form", "Pump"]

_MOST_WAITING = 1 << 20
_COST_OF_EVENT = 200


class Form(Protocol):
    """What a display looks like. All calls come from one thread; times are monotonic."""

    sink: Sink

    def take(self, event: Event, at: float) -> None:
        """An event that came in at the time ``at``."""
        ...

    def draw(self, now: float) -> None:
        """Show what was taken. Called after every batch, and ten times a second."""
        ...

    def finish(self, now: float) -> None:
        """No event will come any more: draw what is left, put the terminal in order."""
        ...


class Pump:
    """Carries events from any thread to a form in a thread of its own.

    At most 1 MB of events wait. A stream that takes no more (a stopped terminal, a full
    pipe) then holds up the build, as it would any other program; a broken one does not.
    """

    def __init__(self, form: Form):
        self._form = form
        self._changed = Condition()
        self._waiting: deque[tuple[Event, float]] = deque()
        self._size = 0
        self._closing = False
        self._dead = False
        self._thread = Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether the stream went away; the display is silent since."""
        return self._form.sink.broken

    def __call__(self, event: Event) -> None:
        size = _COST_OF_EVENT + (len(event.data) if isinstance(event, StepOutput) else 0)
        with self._changed:
            self._changed.wait_for(lambda: self._size < _MOST_WAITING or self._ended())
            if not self._ended():
                self._waiting.append((event, time.monotonic()))
                self._size += size
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not current_thread():
            self._thread.join()

    def _ended(self) -> bool:
        return self._closing or self._dead

    def _run(self) -> None:
        try:
            try:
                while self._step():
                    pass
            finally:
                self._form.finish(time.monotonic())
        finally:
            with self._changed:
                self._dead = True
                self._changed.notify_all()

    def _step(self) -> bool:
        """Draw what has come; False when it was the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, 0.1)
            batch, self._waiting = self._waiting, deque()
            self._size = 0
            closing = self._closing
            self._changed.notify_all()
        for event, at in batch:
            self._form.take(event, at)
        if not closing:
            self._form.draw(time.monotonic())
        return not closing
