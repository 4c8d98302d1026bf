"""The display for programs: one JSON object a line, in ASCII. See the package for the fields."""

from __future__ import annotations

import base64
import json
import re
import time

from obuild.events import Event, StepFailed, StepHit, StepOutput, StepSaved, Warned
from obuild.progress.sink import Sink
from obuild.source import readable
from obuild.values import names, replace

__all__ = ["JsonForm"]

_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_LONGEST_CHARACTER = 4


class JsonForm:
    """Every event in the order in which it came; with ``quiet`` warnings and failures only."""

    def __init__(self, sink: Sink, *, quiet: bool):
        self.sink = sink
        self._quiet = quiet
        self._epoch = time.time() - time.monotonic()
        self._lines: list[str] = []
        self._held: dict[int, StepOutput] = {}

    def take(self, event: Event, at: float) -> None:
        if self._quiet and not isinstance(event, Warned | StepFailed):
            return
        match event:
            case StepOutput():
                self._take_output(event, at)
            case StepHit() | StepSaved() | StepFailed():
                self._release(event.step, at)
                self._add(event, at)
            case _:
                self._add(event, at)

    def draw(self, now: float) -> None:  # noqa: ARG002
        lines, self._lines = self._lines, []
        self.sink.write("".join(f"{line}\n" for line in lines))

    def finish(self, now: float) -> None:
        for step in list(self._held):
            self._release(step, now)
        self.draw(now)

    def _take_output(self, event: StepOutput, at: float) -> None:
        """Hold back the start of a character whose end is in the next chunk."""
        held = self._held.pop(event.step, None)
        data = (held.data if held else b"") + event.data
        end = _whole(data)
        if end:
            self._add(replace(event, data=data[:end]), at)
        if end < len(data):
            self._held[event.step] = replace(event, data=data[end:])

    def _release(self, step: int, at: float) -> None:
        if held := self._held.pop(step, None):
            self._add(held, at)

    def _add(self, event: Event, at: float) -> None:
        name = _INNER_CAPITAL.sub("-", type(event).__name__).lower()
        record: dict[str, object] = {"event": name, "time": round(self._epoch + at, 3)}
        for field in names(event):
            record.update(_encode(field, getattr(event, field)))
        self._lines.append(json.dumps(record, ensure_ascii=True))


def _encode(name: str, value: object) -> dict[str, object]:
    match value:
        case bytes():
            text = value.decode("utf-8", "replace")
            if text.encode() == value:
                return {name: text}
            return {name: text, f"{name}_b64": base64.b64encode(value).decode("ascii")}
        case str():
            return {name: readable(value)}
        case tuple():
            return {name: [readable(str(item)) for item in value]}
        case _:
            return {name: value}


def _whole(data: bytes) -> int:
    """The length of ``data`` without a character at its end that is cut off."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            need = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) - back if back < need and byte < 0xF8 else len(data)
        if byte < 0x80:
            break
    return len(data)
