import io
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from obuild.events import (
    BuildFinished,
    EngineCalled,
    Event,
    PullProgress,
    StepHit,
    StepOutput,
    StepSaved,
    StepWaiting,
    Warned,
)
from obuild.progress.sink import Sink
from obuild.progress.tty import TtyForm
from tests.progress.builds import KEY, failing_build, small_build, start
from tests.progress.screen import Screen


class Terminal(io.BytesIO):
    """A stream whose size is asked for, and a screen that shows what was written to it."""

    def __init__(self, columns: int = 60, height: int = 24):
        super().__init__()
        self.screen = Screen(columns, height)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.screen.feed(bytes(data))
        return len(data)


class Display:
    """A display whose clock stands still until it is told to go on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, columns: int = 60, height: int = 24, **options: bool
    ):
        monkeypatch.setenv("TERM", "xterm")
        self.terminal = Terminal(columns, height)
        self.screen = self.terminal.screen
        self._sink = Sink(self.terminal)
        monkeypatch.setattr(self._sink, "size", self._size)
        options = {"color": True, "verbose": False, **options}
        self.form = TtyForm(self._sink, width=None, **options)
        self.now = 100.0

    def _size(self) -> tuple[int, int]:
        return self.screen.columns, self.screen.height

    def take(self, *events: Event, seconds: float = 0.2) -> list[str]:
        """The lines on the screen some time after ``events``."""
        for event in events:
            self.form.take(event, self.now)
        self.now += seconds
        self.form.draw(self.now)
        return self.screen.lines()

    def finish(self) -> list[str]:
        self.form.finish(self.now)
        return self.screen.show().split("\n")


def test_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    lines = display.take(*small_build()[:6])
    assert lines[0] == "✔ (from debian:12)                                   cached"
    assert lines[2:5] == ["  │ bronze", "  │ tin", "  │ no newline"]
    assert lines[1][1:] == ' [caster] (run (shell "make"))                       0.2 s'
    assert lines[5].startswith("1 cached · 1 in work · ")
    assert not display.screen.cursor
    display.take(*small_build()[6:])
    assert display.finish() == [
        "✔ (from debian:12)                                   cached",
        '✔ [caster] (run (shell "make"))                       1.2 s',
        "warning: bell.spec:9: the bell is cracked",
        "         ring it softly",
        "2 steps: 1 cached, 1 built in 4.2 s",
    ]
    assert display.screen.cursor
    assert not display.screen.coloured


def test_an_unexpected_end_leaves_a_clean_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    display.take(*small_build()[:6])
    assert display.finish() == ["✔ (from debian:12)                                   cached"]
    assert display.screen.cursor
    assert display.finish() == ["✔ (from debian:12)                                   cached"]


def test_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    display.take(*failing_build()[:-2])
    display.take(*failing_build()[-2:])
    lines = display.finish()
    assert lines[:4] == [
        '✘ [dev/caster] (run (shell "make"))            failed 1.2 s',
        "1 step: 1 failed in 3.0 s",
        "",
        '✘ (run (shell "make"))',
    ]
    assert lines[-2:] == ["  │ line 25", "  whole log: obuild log 4bcbcb94a9cb"]
    assert lines.count("  whole log: obuild log 4bcbcb94a9cb") == 1


def test_a_pull_and_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch, columns=80)
    lines = display.take(
        start(1),
        PullProgress(1, "a", "Downloading", 500_000, 1_000_000),
        start(2),
        StepWaiting(2, "another obuild builds it"),
    )
    bar = "━" * 12 + "─" * 12
    assert lines[1] == f"  │ {bar} downloading 500.0 kB of 1.0 MB, 0 of 1 parts ready"
    assert lines[3] == "  │ waiting: another obuild builds it"
    assert "  │ at last" in display.take(StepOutput(2, b"at last\n"))


def test_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch, color=False)
    written = bytearray()
    monkeypatch.setattr(display.screen, "feed", written.extend)
    display.take(*failing_build()[:-2])
    display.take(*failing_build()[-2:])
    display.finish()
    assert b"\x1b[?25l" in written
    assert "✘ [dev/caster]".encode() in written
    assert re.findall(rb"\x1b\[[\d;]*m", written) == []


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 10, 24, 60])
@pytest.mark.parametrize("columns", [5, 6, 10, 20, 80])
def test_the_area_is_never_taller_than_the_screen(
    monkeypatch: pytest.MonkeyPatch, columns: int, height: int
) -> None:
    display = Display(monkeypatch, columns, height)
    for step in range(1, 20):
        display.take(start(step, "a", "b"), *[StepOutput(step, b"ding\ndong\n")] * step)
        area = display.screen.row + 1
        assert area <= max(1, height - 1)
    for step in range(1, 20):
        display.take(StepSaved(step, KEY, 1.0))
    display.take(BuildFinished(KEY, 1.0))
    finished = "".join(display.finish())
    assert finished.count("✔") == 19
    assert "ding" not in finished
    assert display.screen.cursor


def test_many_steps_on_a_small_screen_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch, height=9)
    lines = display.take(*[start(step, f"s{step}") for step in range(1, 20)])
    assert [line.split()[1] for line in lines[:5]] == ["[s1]", "[s2]", "[s3]", "[s4]", "[s5]"]
    assert lines[5] == "… 14 more in work"
    assert lines[6].startswith("19 in work · ")


@pytest.mark.parametrize("columns", [59, 40, 31, 30, 20, 10, 90])
def test_nothing_is_left_behind_by_a_resize(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    display = Display(monkeypatch, columns=60, height=60)
    display.take(start(1), StepOutput(1, b"x" * 100 + b"\n" + b"y" * 30 + b"\n"))
    display.screen.resize(columns)
    lines = display.take(Warned("hm"))
    assert lines[0] == ("warning: hm" if columns > 10 else "warning: h")
    text = "\n".join(lines)
    assert text.count("x") < columns
    assert text.count(" s") <= 2
    display.take(start(2), StepOutput(2, b"z" * 100))
    display.screen.resize(columns // 2)
    assert "".join(display.finish()) == "warning: hm"


def test_replayed_output_is_shown_under_the_name_of_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    display = Display(monkeypatch)
    replayed = StepOutput(1, b"ding\ndo", replayed=True)
    display.take(start(1), replayed, StepOutput(1, b"ng", replayed=True), StepHit(1, KEY, 0.1))
    assert display.finish() == [
        '  (run (shell "make"))                         from its log',
        "  │ ding",
        "  │ dong",
        '✔ (run (shell "make"))                               cached',
    ]


def test_calls_of_the_engine_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    call = EngineCalled(("docker", "run", *["busybox"] * 20, "\x1b[2J"))
    assert Display(monkeypatch).take(call) == [""]
    lines = Display(monkeypatch, verbose=True).take(start(1), call)
    assert "".join(lines).startswith("docker run " + "busybox " * 19 + "busybox")


def test_an_ascii_terminal_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    form = TtyForm(Sink(stream), color=False, verbose=False, width=40)
    for event in [*failing_build(3)[:-1], *small_build()[:5]]:
        form.take(event, 1.0)
    form.draw(100.0)
    for event in small_build()[5:]:
        form.take(event, 101.0)
    form.finish(102.0)
    written = raw.getvalue().decode("ascii")
    assert "+ [caster]" in written
    assert "x (run" in written
    assert "  | bronze" in written
    assert "?" not in written.replace("\x1b[?25", "")


def test_a_build_of_hits_does_not_load_rich() -> None:
    script = """
import sys
from obuild.events import BuildFinished, StepHit, StepStarted
from obuild.progress import make
show = make("tty", sys.stderr, color=True)
for step in range(1, 50):
    show(StepStarted(step, (), "run", "(run (shell make))", "k"))
    show(StepHit(step, "k", 0.001))
show(BuildFinished("k", 0.1, 49))
show.close()
print([name for name in sys.modules if name in ("rich", "json", "docker", "shlex")])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout == "[]\n"
    assert done.stderr.count("cached") == 50
    assert "\x1b[?25l" not in done.stderr


SLOW_BUILD = """
import sys, time
from obuild.progress import make
from tests.progress.builds import small_build
show = make("auto", sys.stderr, color=True)
try:
    for event in small_build()[:6]:
        show(event)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
finally:
    show.close()
"""


def test_ctrl_c_on_a_real_terminal() -> None:
    root = Path(__file__).parents[2]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD],
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(root), "TERM": "xterm"},
    ) as build:
        os.close(theirs)
        screen = Screen(60, 24)
        while "  │ no newline" not in screen.lines():
            screen.feed(os.read(ours, 65536))
        assert not screen.cursor
        build.send_signal(signal.SIGINT)
        while not screen.cursor:
            screen.feed(os.read(ours, 65536))
        assert screen.show() == "✔ (from debian:12)                                   cached"
        assert not screen.coloured
        assert build.wait(20) == 130
    os.close(ours)
