import errno
import io
import os
import threading
import time
from typing import IO, cast

import pytest

from obuild.events import BuildFinished, Event, StepOutput, StepSaved, Warned
from obuild.progress import MODES, Renderer, make
from obuild.progress.obuilder import ObuilderRenderer
from obuild.progress.pump import Pump
from obuild.progress.sink import Sink
from tests.progress.builds import KEY, every_event, failing_build, small_build, start


def feed(renderer: Renderer, events: list[Event]) -> None:
    for event in events:
        renderer(event)


class Hanging(io.RawIOBase):
    """A stream that takes nothing until it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        assert self.free.wait(20)
        size = len(cast(bytes, data))
        self.written += size
        return size


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("quiet", [False, True])
def test_every_mode_on_streams_of_text_and_of_bytes(mode: str, quiet: bool) -> None:
    written = []
    for stream in (io.StringIO(), io.BytesIO()):
        renderer = make(mode, cast(IO[str], stream), color=False, quiet=quiet, width=60)
        feed(renderer, every_event()[:9] + failing_build())
        renderer.close()
        renderer.close()
        assert not renderer.broken
        value = stream.getvalue()
        written.append(value if isinstance(value, str) else value.decode())
    assert written[0]
    if mode != "json":  # JSON has the time
        assert "obuild log 4bcbcb94a9cb" in written[0]
        assert written[0] == written[1]


def test_auto_is_plain_without_a_terminal() -> None:
    out = io.StringIO()
    renderer = make("auto", out, color=True)
    feed(renderer, small_build())
    renderer.close()
    assert out.getvalue().startswith("#1 (from debian:12)\n#1 cached\n")
    assert "\x1b" not in out.getvalue()


def test_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="loud"):
        make("loud", io.StringIO(), color=True)


def test_nothing_is_shown_after_the_end() -> None:
    out = io.StringIO()
    renderer = make("plain", out, color=True)
    renderer.close()
    renderer(Warned("too late"))
    assert out.getvalue() == ""


@pytest.mark.parametrize("mode", ["tty", "plain", "json", "obuilder"])
def test_a_reader_that_went_away(mode: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream:
        make_it = ObuilderRenderer if mode == "obuilder" else None
        renderer: Renderer = make_it(stream) if make_it else make(mode, stream, color=True)
        feed(renderer, small_build()[:-1])
        for _ in range(200):
            renderer(StepOutput(9, b"x" * 65536))
        feed(renderer, [StepSaved(9, KEY, 1.0), BuildFinished(KEY, 1.0)])
        renderer.close()
        assert renderer.broken


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_stream_that_fails(number: int) -> None:
    class Failing(io.BytesIO):
        def write(self, data: object) -> int:  # noqa: ARG002
            raise OSError(number, "no")

    renderer = make("plain", Failing(), color=True)
    feed(renderer, small_build())
    renderer.close()
    assert renderer.broken


def test_a_closed_stream() -> None:
    out = io.StringIO()
    renderer = make("plain", out, color=True)
    out.close()
    feed(renderer, small_build())
    renderer.close()
    assert renderer.broken


def test_lines_from_many_threads_stay_whole() -> None:
    out = io.BytesIO()
    renderer = make("plain", out, color=False)

    def work(step: int) -> None:
        renderer(start(step))
        for i in range(300):
            renderer(StepOutput(step, f"{step}:{i} be".encode()))
            renderer(StepOutput(step, f"ll {step}\n".encode()))
        renderer(StepSaved(step, KEY, 1.0))

    threads = [threading.Thread(target=work, args=(step,)) for step in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    renderer.close()
    lines = out.getvalue().decode().splitlines()
    for step in range(1, 9):
        mine = [line.split(" ", 2)[2] for line in lines if line.startswith(f"#{step} 0")]
        assert mine == [f"{step}:{i} bell {step}" for i in range(300)]


def test_a_stream_that_takes_nothing_holds_up_the_build_but_not_memory() -> None:
    stream = Hanging()
    renderer = make("plain", cast(IO[bytes], stream), color=False)
    sent = 0

    def work() -> None:
        nonlocal sent
        renderer(start(1))
        for _ in range(400):
            renderer(StepOutput(1, b"x" * 65535 + b"\n"))
            sent += 1

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(1)
    assert thread.is_alive()
    assert sent < 60  # of 64 kB: what waits, and one batch in work
    stream.free.set()
    thread.join(20)
    renderer.close()
    assert sent == 400
    assert stream.written > 400 * 65535


def test_a_non_blocking_pipe_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 5000):
            got.extend(chunk)
            time.sleep(0.0002)

    thread = threading.Thread(target=read)
    thread.start()
    for buffering in (0, -1):
        with os.fdopen(writing, "wb", buffering=buffering, closefd=buffering != 0) as stream:
            sink = Sink(stream)
            for i in range(10):
                sink.write_bytes(bytes([65 + i]) * 100_000)
            assert not sink.broken
    thread.join(20)
    os.close(reading)
    assert bytes(got) == b"".join(bytes([65 + i]) * 100_000 for i in range(10)) * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_display_that_breaks_holds_up_nobody() -> None:
    class Broken:
        sink = Sink(io.BytesIO())
        finished = False

        def take(self, event: Event, at: float) -> None:  # noqa: ARG002
            raise RuntimeError("a bug")

        def draw(self, now: float) -> None:
            pass

        def finish(self, now: float) -> None:  # noqa: ARG002
            self.finished = True

    form = Broken()
    renderer = Pump(form)
    for _ in range(200):
        renderer(StepOutput(1, b"x" * 65536))
    renderer.close()
    assert form.finished


def test_an_event_is_shown_at_once() -> None:
    out = io.StringIO()
    renderer = make("plain", out, color=False)
    renderer(Warned("now"))
    deadline = time.monotonic() + 5
    while not out.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert out.getvalue() == "warning: now\n"
    renderer.close()
