"""Nested builds that run side by side, each in a thread, and who waits for them.

A nested build waits only for the builds that it copies from, and so does the build around
it. The first thing that goes wrong anywhere is what the whole build ends with; the others
are stopped. With one job there are no threads: builds run in the order of the text.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread

from obuild.errors import Cancelled

__all__ = ["NestedBuild", "SideBySide"]

_LOOK = 0.2


class NestedBuild:
    """A nested build that was begun; ``key`` waits for its result."""

    def __init__(self, work: Callable[[], str], failed: Callable[[BaseException], None]):
        self._work = work
        self._failed = failed
        self._done = Event()
        self._key: str | None = None

    def run(self) -> None:
        """Do the work, in whatever thread this is."""
        try:
            self._key = self._work()
        except BaseException as error:  # noqa: BLE001 - raised by SideBySide.join
            self._failed(error)
        finally:
            self._done.set()

    def key(self, stop: Event) -> str:
        """The key of its last step. Raises ``Cancelled`` if it comes to none."""
        while not self._done.wait(_LOOK):
            if stop.is_set():
                raise Cancelled("the build was cancelled")
        if self._key is None:
            raise Cancelled("the build was cancelled")
        return self._key


class SideBySide:
    """Begins nested builds and knows the first failure of all. ``stop`` is set by it."""

    def __init__(self, stop: Event, *, threads: bool):
        self._stop = stop
        self._threads = threads
        self._lock = Lock()
        self._first: BaseException | None = None
        self._begun: list[Thread] = []

    @property
    def threads(self) -> bool:
        return self._threads

    def begin(self, name: str, work: Callable[[], str]) -> NestedBuild:
        """Begin a nested build; without threads it is done when this returns, and raises."""
        nested = NestedBuild(work, self.fail)
        if self._threads:
            thread = Thread(target=nested.run, name=f"obuild-{name}", daemon=True)
            with self._lock:
                self._begun.append(thread)
            thread.start()
        else:
            nested.run()
            self.check()
        return nested

    def fail(self, error: BaseException) -> None:
        """Keep the first failure, and stop everything."""
        with self._lock:
            if self._first is None or (
                isinstance(self._first, Cancelled) and not isinstance(error, Cancelled)
            ):
                self._first = error
        self._stop.set()

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self._first is not None:
            raise self._first

    def join(self) -> None:
        """Wait until every nested build has ended; raises the first failure of all."""
        while True:
            with self._lock:
                if not self._begun:
                    break
                thread = self._begun.pop()
            thread.join()
        self.check()
