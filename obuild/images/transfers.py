"""Several transfers at once, with their progress, and an end as soon as it is wanted.

The work is done in threads; what is told of it, and the look at the flag, is the calling
thread's alone. Threads that are in the middle of connecting when all is stopped are left to
their deadline; they hold nothing but the lock of their part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from obuild.errors import Cancelled, ImageError
from obuild.events import Emit, PullProgress
from obuild.images.connections import Connections

__all__ = ["Part", "persistently", "run"]

_Value = TypeVar("_Value")

_AT_ONCE = 3
_LOOK = 0.1
_SHORT = 12
_MOST_TRIES = 100


class Part:
    """One blob on its way: what is told of it. ``total`` and ``current`` are bytes."""

    def __init__(self, digest: str, total: int, status: str):
        self.name = digest.partition(":")[2][:_SHORT]
        self.total = total
        self.current: int | None = None
        self.status = status

    def event(self, step: int) -> PullProgress:
        current = self.current
        total = None if current is None else self.total
        return PullProgress(step, self.name, self.status, current, total)


Work = Callable[[], None]


def run(
    works: Sequence[Work],
    connections: Connections,
    cancel: Event,
    parts: Sequence[Part] = (),
    emit: Emit | None = None,
    step: int = 0,
) -> None:
    """Do all ``works``, three at a time; the first error ends the others, and is raised.

    ``emit`` is called from this thread, with each of ``parts`` that changed. Raises
    ``Cancelled`` within a quarter of a second after ``cancel`` is set.
    """
    waiting: SimpleQueue[Work] = SimpleQueue()
    for work in works:
        waiting.put(work)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def take() -> None:
        try:
            while True:
                waiting.get_nowait()()
        except Empty:
            ended.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            ended.put(error)

    told: dict[str, PullProgress] = {}

    def tell() -> None:
        for part in parts if emit is not None else ():
            event = part.event(step)
            if told.get(part.name) != event:
                told[part.name] = event
                if emit is not None:
                    emit(event)

    left = min(_AT_ONCE, len(works))
    for _ in range(left):
        Thread(target=take, daemon=True, name="obuild-transfer").start()
    try:
        while left:
            tell()
            if cancel.is_set():
                raise Cancelled("the transfer was cancelled")
            try:
                error = ended.get(timeout=_LOOK)
            except Empty:
                continue
            if error is not None:
                raise error
            left -= 1
    except BaseException:
        connections.stop()
        raise
    tell()


def persistently(
    work: Callable[[], _Value], connections: Connections, progress: Callable[[], int]
) -> _Value:
    """The result of ``work``, tried again after faults that pass.

    As long as ``progress()``, in bytes, grows from try to try there are up to a hundred;
    without, as many as the patience has pauses.
    """
    pauses = connections.patience.pauses
    fruitless, reached = 0, progress()
    for left in reversed(range(_MOST_TRIES)):
        try:
            return work()
        except ImageError as error:
            now = progress()
            fruitless = 0 if now > reached else fruitless + 1
            reached = max(now, reached)
            if not error.passing or fruitless > len(pauses) or not (pauses and left):
                raise
        connections.pause(pauses[max(fruitless - 1, 0)])
    raise AssertionError("the last try returns or raises")
