"""The flag that ends a step early: set for it, for its build, or by its own deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import Event

__all__ = ["Stop", "unhurried"]

_SLICE = 0.05


class Stop(Event):
    """Set once it is set itself, once ``parent`` is, or when its time is over.

    Whoever takes an ``Event`` to look at can be given this one.
    """

    def __init__(self, parent: Event):
        super().__init__()
        self._parent = parent
        self._end: float | None = None
        self._limit = 0.0

    def begin(self, seconds: float | None) -> None:
        """The time begins to run, if it has not yet; None: it never ends."""
        if seconds is not None and self._end is None:
            self._limit = seconds
            self._end = time.monotonic() + seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time does not run meanwhile. For the thread that does the step."""
        end, began = self._end, time.monotonic()
        self._end = None
        try:
            yield
        finally:
            if end is not None:
                self._end = end + time.monotonic() - began

    @property
    def overdue(self) -> float | None:
        """The seconds that were allowed, if nothing but their end stopped this."""
        late = self._end is not None and time.monotonic() >= self._end
        stopped = super().is_set() or self._parent.is_set()
        return self._limit if late and not stopped else None

    def is_set(self) -> bool:
        if super().is_set() or self._parent.is_set():
            return True
        return self._end is not None and time.monotonic() >= self._end

    def wait(self, timeout: float | None = None) -> bool:
        """As for an event; ``timeout`` in seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _SLICE if end is None else min(_SLICE, end - time.monotonic())
            if left <= 0:
                return self.is_set()
            super().wait(left)
        return True


_Lock = Callable[[str, Event, Callable[[], None]], AbstractContextManager[None]]


def unhurried(lock: _Lock) -> _Lock:
    """The same lock, but the time of a step does not run while it waits for it."""

    @contextmanager
    def hold(name: str, cancel: Event, waiting: Callable[[], None]) -> Iterator[None]:
        with ExitStack() as stack:
            with cancel.paused() if isinstance(cancel, Stop) else nullcontext():
                stack.enter_context(lock(name, cancel, waiting))
            yield

    return hold
