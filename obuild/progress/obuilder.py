"""What ``obuild build`` writes on standard output: OBuilder's lines (golden: stdout.json).

OBuilder builds one thing after the other. Where builds run side by side, the lines of one
nested build stay together, in the order in which the builds began; what comes too early is
kept, above a megabyte in a temporary file. Of several builds that need one step the first in
that order is said to have saved it, whichever it was: OBuilder would have done it there.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from typing import IO

from obuild.events import (
    BuildFinished,
    Event,
    Heading,
    StageFinished,
    StageStarted,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
)
from obuild.progress.pump import Pump
from obuild.progress.sink import Sink
from obuild.sexp import quote
from obuild.source import encode

__all__ = ["ObuilderForm", "ObuilderRenderer"]

_IN_MEMORY = 1 << 20
_CHUNK = 1 << 16


class ObuilderRenderer(Pump):
    """Writes to ``stream``; warnings, failures and calls of the engine are not for it."""

    def __init__(self, stream: IO[bytes]):
        super().__init__(ObuilderForm(Sink(stream)))


class _Kept:
    """Bytes that wait for their turn."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def read(self) -> Iterator[bytes]:
        """All of it, once."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield chunk
        self._file.close()


class _Stored:
    """The line that says that a step is stored; how it got there is told when it is written."""

    def __init__(self, key: str):
        self.key = key


class _Stage:
    """A nested build: what is still to be written of it, and the builds begun inside it."""

    def __init__(self) -> None:
        self.items: deque[_Kept | _Stored | _Stage] = deque()
        self.closed = False

    def keep(self, data: bytes) -> None:
        last = self.items[-1] if self.items else None
        if not isinstance(last, _Kept):
            last = _Kept()
            self.items.append(last)
        last.write(data)


class ObuilderForm:
    """The events of a build come after ``StageStarted`` of the builds nested in it."""

    def __init__(self, sink: Sink):
        self.sink = sink
        self._ready = bytearray()
        outermost = _Stage()
        self._open: dict[tuple[str, ...], _Stage] = {(): outermost}
        self._current = [outermost]  # the build that is written now, after those around it
        self._within: dict[int, tuple[str, ...]] = {}
        self._saved: set[str] = set()  # keys of steps that were done and not yet said to be

    def take(self, event: Event, at: float) -> None:  # noqa: ARG002
        match event:
            case StageStarted():
                self._stage(event.within)
                self._say(event.within, f"(build {quote(event.within[-1])} …)")
            case StageFinished():
                self._say(event.within, f"--> finished {quote(event.within[-1])}")
                self._finish(event.within)
            case Heading():
                self._say(event.within, event.text)
            case StepStarted():
                self._within[event.step] = event.within
            case StepOutput():
                self._write(self._within.get(event.step, ()), event.data)
            case StepHit():
                self._stored(event.step, event.key)
            case StepSaved():
                self._saved.add(event.key)
                self._stored(event.step, event.key)
            case BuildFinished(key=str(key)):
                self._say((), f"Got: {quote(key)}")

    def draw(self, now: float) -> None:  # noqa: ARG002
        self.sink.write_bytes(bytes(self._ready))
        self._ready.clear()

    def finish(self, now: float) -> None:
        """Write also what is kept of builds that had not finished when this one ended."""
        for stage in self._open.values():
            stage.closed = True
        self._advance()
        self.draw(now)

    def _say(self, within: tuple[str, ...], line: str) -> None:
        self._write(within, encode(line) + b"\n")

    def _stored(self, step: int, key: str) -> None:
        stage = self._stage(self._within.pop(step, ()))
        if stage is self._current[-1]:
            self._put_stored(key)
        else:
            stage.items.append(_Stored(key))

    def _put_stored(self, key: str) -> None:
        if key in self._saved:
            self._saved.remove(key)
            line = f"---> saved as {quote(key)}"
        else:
            line = f"---> using {quote(key)} from cache"
        self._put(encode(line) + b"\n")

    def _write(self, within: tuple[str, ...], data: bytes) -> None:
        stage = self._stage(within)
        if stage is self._current[-1]:
            self._put(data)
        else:
            stage.keep(data)

    def _stage(self, within: tuple[str, ...]) -> _Stage:
        """The nested build of that path, begun now if it is not in work."""
        stage = self._open.get(within)
        if stage is None:
            stage = self._open[within] = _Stage()
            self._stage(within[:-1]).items.append(stage)
            self._advance()
        return stage

    def _finish(self, within: tuple[str, ...]) -> None:
        self._stage(within).closed = True
        del self._open[within]
        self._advance()

    def _advance(self) -> None:
        """Write what was kept, as far as it is the turn of it."""
        while True:
            current = self._current[-1]
            if current.items:
                item = current.items.popleft()
                if isinstance(item, _Stage):
                    self._current.append(item)
                elif isinstance(item, _Stored):
                    self._put_stored(item.key)
                else:
                    for chunk in item.read():
                        self._put(chunk)
            elif current.closed and len(self._current) > 1:
                self._current.pop()
            else:
                return

    def _put(self, data: bytes) -> None:
        self._ready += data
        if len(self._ready) > _IN_MEMORY:
            self.draw(0.0)
