import io

from obuild.events import (
    BuildFinished,
    EngineCalled,
    Event,
    PullProgress,
    StepFailed,
    StepOutput,
    StepSaved,
)
from obuild.progress.plain import PlainForm
from obuild.progress.quiet import QuietForm
from obuild.progress.sink import Sink
from obuild.values import replace
from tests.progress.builds import KEY, every_event, failing_build, small_build, start

REPORT = """
✘ (run (shell "make"))
  where    bell.spec:7
  stage    dev/caster
  command  /bin/sh -c "make 'big bell'"
  failed   exit code 2, after 1.2 s
  error    the command ended with status 2
  hint     look at the bell
  output   the last 20 of 25 lines
""" + "".join(f"  │ line {i}\n" for i in range(6, 26))
REPORT += "  whole log: obuild log 4bcbcb94a9cb\n"


def plain(events: list[Event], *, verbose: bool = False) -> str:
    """What is written where half a second passes from one event to the next."""
    out = io.BytesIO()
    form = PlainForm(Sink(out), verbose=verbose)
    for i, event in enumerate(events):
        form.take(event, i * 0.5)
        form.draw(i * 0.5)
    form.finish(len(events) * 0.5)
    return out.getvalue().decode()


def quiet(events: list[Event], *, color: bool = False) -> str:
    out = io.BytesIO()
    form = QuietForm(Sink(out), color=color)
    for event in events:
        form.take(event, 0.0)
    form.finish(0.0)
    return out.getvalue().decode()


def test_a_build() -> None:
    assert plain(small_build()) == (
        "#1 (from debian:12)\n"
        "#1 cached\n"
        '#2 [caster] (run (shell "make"))\n'
        "#2 0.500 bronze\n"
        "#2 1.000 tin\n"
        "#2 1.500 no newline\n"
        "#2 done in 1.2 s\n"
        "warning: bell.spec:9: the bell is cracked\n"
        "         ring it softly\n"
        "2 steps: 1 cached, 1 built in 4.2 s\n"
    )


def test_other_events() -> None:
    assert plain(every_event()).splitlines()[-6:] == [
        '#3 (run (shell "make"))',
        "#3 waiting: another obuild builds it",
        "#3 stopped after 0.5 s: stopped",
        "3 steps: 1 cached, 1 built, 1 stopped in 5.0 s",
        "",
        "■ stopped",
    ]


def test_a_failure_is_reported_at_the_end_and_once() -> None:
    written = plain(failing_build())
    assert '#3 [dev/caster] (run (shell "make"))\n' in written
    assert "#3 FAILED after 1.2 s: the command ended with status 2\n" in written
    assert written.endswith("1 step: 1 failed in 3.0 s\n" + REPORT)
    assert plain(failing_build()[:-1]).endswith(REPORT)


def test_quiet_says_what_went_wrong_and_no_more() -> None:
    assert quiet(failing_build()) == REPORT
    assert quiet(small_build()) == (
        "warning: bell.spec:9: the bell is cracked\n         ring it softly\n"
    )
    assert "\x1b[31;1m✘" in quiet(failing_build(), color=True)


def test_stopped_steps_are_worth_a_word_if_none_failed() -> None:
    late = StepFailed(1, KEY, 1.0, "it took longer than 60 s\nand on", cancelled=True, hint="wait")
    said = "\n■ it took longer than 60 s\n  and on\n  hint     wait\n"
    assert quiet([start(1), start(2), late, replace(late, step=2)]) == said
    assert quiet([start(1), late, *failing_build()]) == REPORT


def test_a_failure_without_process_or_output() -> None:
    failed = StepFailed(1, "", 0.0, "no image is called debian:99\nis it spelt so?")
    assert quiet([start(1, title="(from debian:99)"), failed]) == (
        "\n✘ (from debian:99)\n"
        "  where    bell.spec:7\n"
        "  failed   after 0.0 s\n"
        "  error    no image is called debian:99\n"
        "           is it spelt so?\n"
    )


def test_a_line_is_written_when_it_rests_for_a_second() -> None:
    written = plain(
        [start(1), StepOutput(1, b"Password: "), EngineCalled(("wait",)), EngineCalled(())]
    )
    assert written == '#1 (run (shell "make"))\n#1 0.500 Password:\n'
    bar = [StepOutput(1, f"\r{i}%".encode()) for i in range(9)]
    assert plain([start(1), *bar, StepOutput(1, b"\r\n"), StepSaved(1, KEY, 5)]) == (
        '#1 (run (shell "make"))\n#1 5.000 8%\n#1 done in 5.0 s\n'
    )


def test_a_pull_is_told_every_five_seconds() -> None:
    news: list[Event] = [PullProgress(1, "a", "Downloading", i * 100, 3000) for i in range(24)]
    assert plain([start(1), *news]) == (
        '#1 (run (shell "make"))\n'
        "#1 5.000 downloading 900 B of 3.0 kB, 0 of 1 parts ready\n"
        "#1 10.000 downloading 1.9 kB of 3.0 kB, 0 of 1 parts ready\n"
    )


def test_calls_of_the_engine_if_asked_for() -> None:
    events: list[Event] = [
        EngineCalled(("docker", "run", "busybox", "echo 'a' \x1b[2J; b")),
        EngineCalled((), "load an image"),
        EngineCalled((), answer="Untagged: busybox"),
    ]
    assert plain(events) == ""
    shown = """docker run busybox 'echo '"'"'a'"'"' ; b'\n# load an image\n"""
    assert plain(events, verbose=True) == shown


def test_output_of_steps_side_by_side_stays_in_lines() -> None:
    chunks: list[Event] = []
    for i in range(20):
        chunks += [StepOutput(1, b"ding "), StepOutput(2, b"dong ")]
        if i % 3 == 2:
            chunks += [StepOutput(1, b"\n"), StepOutput(2, b"\n")]
    written = plain([start(1), start(2), *chunks, BuildFinished(None, 1)])
    for line in written.splitlines():
        assert not ("ding" in line and "dong" in line)
    assert written.count("ding") == written.count("dong") == 20
