"""Faults of the engine that pass: a daemon that restarts, a connection that was reset.

Only faults of the engine are met with another try, never a command that failed: what a
command did the first time may be why it fails the second time, and who knows it is the user.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from obuild.errors import Cancelled, EngineError

__all__ = ["retried"]

_Value = TypeVar("_Value")


def retried(
    work: Callable[[], _Value],
    say: Callable[[str], None],
    cancel: Event,
    pauses: tuple[float, ...],
    before: Callable[[], None] = lambda: None,
) -> _Value:
    """The result of ``work``, tried again after each of ``pauses`` if the engine was away.

    ``before`` is called before each new try, to put right what the last one may have left;
    it too may find the engine away. ``say`` is told of each pause. Raises what the last try
    raised, and ``Cancelled``.
    """
    prepare: Callable[[], None] = lambda: None  # noqa: E731
    for number, pause in enumerate(pauses, 2):
        try:
            prepare()
            return work()
        except EngineError as error:
            if not error.passing:
                raise
            say(f"{error.message}; try {number} of {len(pauses) + 1} in {pause:g} s")
            if cancel.wait(pause):
                raise Cancelled("the build was cancelled") from error
            prepare = before
    prepare()
    return work()
