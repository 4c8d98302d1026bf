"""Builds as lists of events, for the displays to show."""

from __future__ import annotations

from obuild.events import (
    BuildFinished,
    Event,
    PullProgress,
    StageFinished,
    StageStarted,
    StepFailed,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
    Warned,
)

KEY = "4bcbcb94a9cbf9b875bf98bc31eea5b4affc6fa6b8c0801ce3df7f5ac5cbe00a"

FAILED = StepFailed(
    step=3,
    key=KEY,
    seconds=1.24,
    message="the command ended with status 2",
    status=2,
    command=("/bin/sh", "-c", "make 'big bell'"),
    hint="look at the bell",
)


def start(step: int, *within: str, title: str = '(run (shell "make"))') -> StepStarted:
    return StepStarted(step, within, "run", title, KEY, "bell.spec:7")


def small_build() -> list[Event]:
    """A hit, a nested build with output, a warning, and the end."""
    return [
        start(1, title="(from debian:12)"),
        StepHit(1, KEY, 0.01),
        StageStarted(("caster",)),
        start(2, "caster"),
        StepOutput(2, b"bronze\nti"),
        StepOutput(2, b"n\nno newline"),
        StepSaved(2, KEY, 1.24),
        StageFinished(("caster",)),
        Warned("the bell is cracked\nring it softly", "bell.spec:9"),
        BuildFinished(KEY, 4.2, hits=1, saved=1),
    ]


def failing_build(lines: int = 25) -> list[Event]:
    return [
        start(3, "dev", "caster"),
        *(StepOutput(3, f"line {i}\n".encode()) for i in range(1, lines + 1)),
        FAILED,
        BuildFinished(None, 3.0),
    ]


def every_event() -> list[Event]:
    """Other kinds of events too: waiting, a pull, cancelled."""
    return [
        *small_build()[:-1],
        start(3),
        StepWaiting(3, "another obuild builds it"),
        PullProgress(3, "", "Pulling from library/debian"),
        PullProgress(3, "a1", "Downloading", 500_000, 2_000_000),
        StepFailed(3, KEY, 0.5, "stopped", cancelled=True),
        BuildFinished(None, 5.0, 1, 1),
    ]
