"""Removing what a finished step leaves, beside the next step.

One thread for an engine, started at the first removal. It waits for a time when the daemon
is not busy with what the build waits for: removing beside a create or a commit makes these
slower by half. What cannot be removed is told by
the next ``check`` or by ``close``; a name can be waited for before it is used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

from obuild.errors import EngineError

__all__ = ["Removals"]

_LIMIT = 64
_PATIENCE = 0.3


class Removals:
    """Work for later, in order, by name. ``timeout`` bounds each wait, in seconds."""

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._changed = Condition()
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._current: str | None = None
        self._errors: list[EngineError] = []
        self._thread: Thread | None = None
        self._closed = False
        self._begun = False

    def begin(self) -> None:
        """Now is a good time: a command is being started, and the daemon has time."""
        with self._changed:
            self._begun = bool(self._waiting)
            self._changed.notify_all()

    def add(self, name: str, work: Callable[[], object]) -> None:
        """Do ``work`` soon. Waits while there is too much of it already."""
        with self._changed:
            self._wait(lambda: len(self._waiting) < _LIMIT)
            self._waiting.append((name, work))
            if self._thread is None:
                self._thread = Thread(target=self._run, daemon=True, name="obuild-removals")
                self._thread.start()
            self._changed.notify_all()

    def now(self, work: Callable[[], object]) -> None:
        """Do ``work`` at once; an error is kept for ``check``."""
        try:
            work()
        except EngineError as error:
            with self._changed:
                self._errors.append(error)

    def settle(self, *names: str) -> None:
        """Wait until nothing of these names is left to be done; without names, nothing at all."""
        with self._changed:
            if self._pending(names):
                self._begun = True
                self._changed.notify_all()
                self._wait(lambda: not self._pending(names))

    def check(self) -> None:
        """Raise the first error that has not been told yet."""
        with self._changed:
            if self._errors:
                raise self._errors.pop(0)

    def close(self) -> None:
        """Finish what is left. Raises what went wrong."""
        self.settle()
        with self._changed:
            self._closed = self._begun = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self._timeout)
        self.check()

    def _pending(self, names: tuple[str, ...]) -> bool:
        busy = [name for name, _ in self._waiting]
        if self._current is not None:
            busy.append(self._current)
        return bool(busy) if not names else any(name in busy for name in names)

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not self._changed.wait_for(condition, self._timeout):
            raise EngineError(
                f"a removal is not done after {self._timeout:g} s: {self._current}",
                hint="see whether `docker ps` answers",
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(lambda: self._begun, _PATIENCE)
                if not self._waiting:
                    return
                self._current, work = self._waiting.popleft()
            self.now(work)
            with self._changed:
                self._current = None
                self._begun = self._begun and bool(self._waiting)
                self._changed.notify_all()
