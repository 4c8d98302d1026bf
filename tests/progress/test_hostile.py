"""Whatever a build prints, and whatever its steps are called, no display is harmed."""

import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obuild.events import (
    BuildFinished,
    EngineCalled,
    Event,
    Heading,
    PullProgress,
    StageFinished,
    StageStarted,
    StepExplained,
    StepFailed,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
    Warned,
)
from obuild.progress.jsonlines import JsonForm
from obuild.progress.obuilder import ObuilderForm
from obuild.progress.plain import PlainForm
from obuild.progress.pump import Form
from obuild.progress.quiet import QuietForm
from obuild.progress.sink import Sink
from obuild.progress.tty import TtyForm
from obuild.source import decode
from tests.progress.builds import KEY, start
from tests.progress.screen import Screen

_pieces = st.sampled_from(
    [
        b"\x1b[2J",
        b"\x1b[",
        b"\r",
        b"\b",
        b"\n",
        b"\t",
        b"[/foo]",
        b"\xff",
        b"\0",
        b"\x1b]0;",
        "日✔️".encode(),
    ]
)
data = st.lists(st.binary(max_size=12) | _pieces, max_size=8).map(b"".join)
words = data.map(decode)
steps = st.integers(1, 4)
within = st.lists(words, min_size=1, max_size=2).map(tuple)
events = st.one_of(
    st.builds(StepStarted, steps, within | st.just(()), words, words, words, st.none() | words),
    st.builds(StepOutput, steps, data, st.booleans()),
    st.builds(StepOutput, steps, data),
    st.builds(PullProgress, steps, words, words, st.none() | st.integers(0, 9), st.none()),
    st.builds(StepWaiting, steps, words),
    st.builds(StepExplained, steps, within),
    st.builds(StepHit, steps, words, st.just(0.1)),
    st.builds(StepSaved, steps, words, st.just(0.1)),
    st.builds(
        StepFailed,
        steps,
        words,
        st.just(0.1),
        words,
        st.none() | st.just(2),
        st.lists(words, max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(Heading, within, words),
    st.builds(StageStarted, within),
    st.builds(EngineCalled, within, words, words),
    st.builds(Warned, words, st.none() | words),
)
builds = st.lists(events, max_size=25)


def run(form: Form, build: list[Event]) -> None:
    for i, event in enumerate(build):
        form.take(event, i * 0.3)
        form.draw(i * 0.3)
    form.take(BuildFinished(KEY, 1.0), 9.0)
    form.finish(9.0)
    assert not form.sink.broken


def lines_are_printable(written: bytes) -> None:
    assert all(line.isprintable() for line in written.decode().split("\n"))


@given(builds)
def test_plain_and_quiet(build: list[Event]) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    run(PlainForm(Sink(out), verbose=True, explain=True), build)
    run(QuietForm(Sink(err), color=False), build)
    lines_are_printable(out.getvalue())
    lines_are_printable(err.getvalue())


@given(builds)
def test_json(build: list[Event]) -> None:
    out = io.BytesIO()
    run(JsonForm(Sink(out), quiet=False), build)
    for line in out.getvalue().decode("ascii").splitlines():
        assert isinstance(json.loads(line)["event"], str)


@given(builds)
def test_obuilder(build: list[Event]) -> None:
    out = io.BytesIO()
    run(ObuilderForm(Sink(out)), build)
    total = sum(len(event.data) for event in build if isinstance(event, StepOutput))
    assert len(out.getvalue()) >= total


@settings(deadline=None)
@given(builds, st.integers(1, 90), st.integers(1, 30), st.booleans())
def test_tty(build: list[Event], columns: int, height: int, color: bool) -> None:
    screen = Screen(columns, height)

    class Terminal(io.BytesIO):
        def write(self, data: Any) -> int:
            screen.feed(bytes(data))
            return len(data)

    sink = Sink(Terminal())
    sink.size = lambda: (columns, height)  # type: ignore[method-assign]
    run(TtyForm(sink, color=color, verbose=True, explain=True, width=None), build)
    assert screen.cursor
    assert not screen.coloured


def test_stages_may_end_in_any_order() -> None:
    out = io.BytesIO()
    build: list[Event] = [
        StageStarted(("a", "b")),
        StageStarted(("a", "c")),
        StageFinished(("a",)),
        StepOutput(7, b"of nobody\n"),
        StageFinished(("a", "c")),
    ]
    run(ObuilderForm(Sink(out)), build)
    assert b"of nobody\n" in out.getvalue()


class Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


@pytest.mark.parametrize("filler", [b"x", b"\r", b"\b", b"\x1b]", b"\xff", b"\n", "日".encode()])
@pytest.mark.parametrize("kind", ["plain", "tty", "quiet"])
def test_memory_is_bounded(kind: str, filler: bytes) -> None:
    sink = Sink(Nowhere())  # type: ignore[arg-type]
    forms: dict[str, Callable[[], Form]] = {
        "plain": lambda: PlainForm(sink, verbose=False),
        "quiet": lambda: QuietForm(sink, color=False),
        "tty": lambda: TtyForm(sink, color=True, verbose=False, width=80),
    }
    form = forms[kind]()
    chunk = filler * 32768
    form.take(start(1), 0.0)
    form.draw(1.0)
    tracemalloc.start()
    for i in range(2_000_000 // len(chunk)):
        form.take(StepOutput(1, chunk), i * 0.01)
        form.draw(i * 0.01)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    form.finish(99.0)
    assert peak < 12_000_000
