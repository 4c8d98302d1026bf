"""Ctrl-C and its kin: once asks the build to stop and clean up, twice ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from threading import Event
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Cancelling"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cancelling:
    """While open, signals set ``flag`` instead of raising in the middle of something."""

    def __init__(self) -> None:
        self.flag = Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Cancelling:
        for number in _SIGNALS:
            # A signal that whoever started us wants ignored (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _caught(self, _number: int, _frame: FrameType | None) -> None:
        if self.flag.is_set():
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\x1b[0m\n")  # the cursor and the colours, as they were
            # What is left now has locks that nobody holds: the next run removes it.
            os._exit(130)
        self.flag.set()
