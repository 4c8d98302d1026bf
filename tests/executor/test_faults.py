"""Faults that pass are met with another try; deadlines end a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Timer

import pytest

from obuild.engine import Action, Cancel, Output, Snapshot, Waiting, unnoticed
from obuild.engine.rehearsal import RehearsalEngine
from obuild.errors import BuildError, Cancelled, EngineUnavailable, StepFailed
from obuild.events import Warned
from obuild.executor.flags import Stop, unhurried
from obuild.executor.inputs import Options
from obuild.executor.retries import retried
from obuild.ir.steps import RunStep
from tests.executor.builds import Stage


def _away(*, passing: bool = True) -> EngineUnavailable:
    error = EngineUnavailable("the daemon does not answer")
    error.passing = passing
    return error


class Flaky(RehearsalEngine):
    """Its daemon goes away in the first ``faults`` executions of a command."""

    def __init__(self, faults: int, *, passing: bool = True):
        super().__init__()
        self.faults = faults
        self.passing = passing
        self.swept = 0

    def execute(
        self,
        key: str,
        parent: str | None,
        action: Action,
        output: Output,
        cancel: Cancel,
        waiting: Waiting = unnoticed,
    ) -> Snapshot:
        if parent is not None and self.faults:
            self.faults -= 1
            output(b"half a l")
            raise _away(passing=self.passing)
        return super().execute(key, parent, action, output, cancel, waiting)

    def sweep(self, alive: Callable[[str], bool]) -> list[str]:  # noqa: ARG002
        self.swept += 1
        return []


SOON = Options(pauses=(0.01, 0.01, 0.01))


def test_a_daemon_that_comes_back_costs_a_pause(stage: Stage) -> None:
    stage.engine = engine = Flaky(2)
    stage.build(options=SOON)
    said = [e.message for e in stage.events if isinstance(e, Warned)]
    assert [message.partition(";")[2] for message in said] == [
        " try 2 of 4 in 0.01 s",
        " try 3 of 4 in 0.01 s",
    ]
    assert engine.swept == 3, "what a try leaves is removed before the next one"
    assert stage.kinds() == ["saved"] * 4


def test_a_daemon_that_stays_away_is_an_error(stage: Stage) -> None:
    stage.engine = Flaky(9)
    with pytest.raises(EngineUnavailable):
        stage.build(options=SOON)
    assert len([e for e in stage.events if isinstance(e, Warned)]) == 3


def test_a_fault_that_does_not_pass_is_not_tried_again(stage: Stage) -> None:
    stage.engine = Flaky(1, passing=False)
    with pytest.raises(EngineUnavailable):
        stage.build(options=SOON)
    assert not [e for e in stage.events if isinstance(e, Warned)]


def test_a_command_that_fails_is_never_tried_again(stage: Stage) -> None:
    calls = []

    def script(step: RunStep) -> tuple[bytes, int]:
        calls.append(step.cmd)
        return b"", 1

    stage.engine.script = script
    with pytest.raises(StepFailed):
        stage.build(options=SOON)
    assert calls == ["make"]


def test_a_cancelled_pause_ends_at_once() -> None:
    cancel = Event()
    Timer(0.05, cancel.set).start()

    def work() -> None:
        raise _away()

    began = time.monotonic()
    with pytest.raises(Cancelled):
        retried(work, lambda _: None, cancel, pauses=(20.0,))
    assert time.monotonic() - began < 5


def test_a_step_that_takes_too_long_has_failed(stage: Stage) -> None:
    def talk(_: str, output: Output) -> None:
        output(b"working\n")
        time.sleep(0.15)
        raise Cancelled("cancelled")  # as an engine does that looks at its flag

    stage.engine.talk = {"make": talk}
    with pytest.raises(BuildError, match=r"not done after 0\.1 s") as caught:
        stage.build(options=Options(step_timeout=0.1))
    assert caught.value.exit_code == 1
    assert stage.kinds()[-1] == "failed"


def test_each_step_has_the_whole_time(stage: Stage) -> None:
    def talk(_: str, output: Output) -> None:
        output(b"working\n")
        time.sleep(0.2)

    stage.engine.talk = {"make": talk, "check": talk}
    stage.build(options=Options(step_timeout=0.35))
    assert stage.kinds() == ["saved"] * 4


def test_a_stop_is_its_parents_and_its_own() -> None:
    parent = Event()
    stop = Stop(parent)
    assert not stop.is_set()
    assert not stop.wait(0.01)
    parent.set()
    assert stop.is_set()
    assert stop.wait()
    assert stop.overdue is None


def test_a_stop_that_ends_by_time_says_so() -> None:
    stop = Stop(Event())
    stop.begin(0.05)
    stop.begin(50.0)  # it has begun already
    assert stop.wait(5)
    assert stop.overdue == 0.05
    stop.set()
    assert stop.overdue is None


class Forgetful(RehearsalEngine):
    """Away at the first question whether a snapshot exists, and at the first restore."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.tried = 0

    def exists(self, key: str) -> bool:
        self.asked += 1
        if self.asked == 1:
            raise _away()
        return super().exists(key)

    def restore(self, key: str, base: str) -> None:
        self.tried += 1
        if self.tried == 1:
            raise _away()
        super().restore(key, base)


def test_faults_between_steps_and_at_the_end_cost_a_pause_too(stage: Stage) -> None:
    stage.engine = Forgetful()
    result = stage.build(options=SOON)
    assert stage.engine.restored == [result.key]
    assert len([e for e in stage.events if isinstance(e, Warned)]) == 2


def test_the_time_of_a_step_does_not_run_while_it_waits_for_a_lock() -> None:
    stop = Stop(Event())

    @contextmanager
    def slow(_name: str, cancel: Event, _waiting: Callable[[], None]) -> Iterator[None]:
        time.sleep(0.2)
        assert not cancel.is_set()
        yield

    stop.begin(0.1)
    with unhurried(slow)("x", stop, lambda: None):
        assert not stop.is_set()
        assert stop.wait(5)
        assert stop.overdue == 0.1
