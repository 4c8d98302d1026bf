"""Nested builds side by side; two builds that need the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Barrier, Event, Lock, Thread

import pytest

from obuild.context import BuildContext
from obuild.engine import RunCommand
from obuild.errors import Cancelled, ObuildError, StepFailed
from obuild.events import Event as Happening
from obuild.events import (
    StageFinished,
    StageStarted,
    StepExplained,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    StepWaiting,
)
from obuild.events import StepFailed as StepFailedEvent
from obuild.executor.execute import Executor, Result
from obuild.executor.inputs import Inputs, Options
from obuild.frontend.obuilder import read_spec
from obuild.ir.steps import RunStep
from obuild.source import Text
from obuild.store import Store
from tests.executor.builds import SPEC, Stage

TWO = """((build a ((from busybox) (run (shell one))))
          (build b ((from busybox) (run (shell two))))
          (from busybox) (run (shell last)))"""
PATIENCE = 20.0


def _commands(stage: Stage) -> list[str]:
    return [a.step.cmd for a in stage.engine.performed if isinstance(a, RunCommand)]


def test_independent_builds_run_at_the_same_time(stage: Stage) -> None:
    together = Barrier(3)

    def script(_: RunStep) -> tuple[bytes, int]:
        together.wait(PATIENCE)  # breaks unless all three are in work at once
        return b"", 0

    stage.engine.script = script
    stage.build(TWO, Options(jobs=3))
    assert sorted(_commands(stage)) == ["last", "one", "two"]


def test_one_job_keeps_the_order_of_the_text(stage: Stage) -> None:
    stage.build(TWO, Options(jobs=1))
    assert _commands(stage) == ["one", "two", "last"]
    shown = [e.within for e in stage.events if isinstance(e, StageStarted | StageFinished)]
    assert shown == [("a",), ("a",), ("b",), ("b",)]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_no_more_steps_than_jobs_are_in_work(stage: Stage, jobs: int) -> None:
    lock, now, most = Lock(), 0, 0

    def script(_: RunStep) -> tuple[bytes, int]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return b"", 0

    stage.engine.script = script
    nested = " ".join(f"(build n{i} ((from busybox) (run (shell {i}))))" for i in range(8))
    stage.build(f"({nested} (from busybox))", Options(jobs=jobs))
    assert most == jobs


def test_every_nested_build_is_announced_before_the_steps_around_it(stage: Stage) -> None:
    """The display of ``obuild build`` keeps the order of the text by that."""
    stage.build(TWO, Options(jobs=4))
    kinds = [
        e.within if isinstance(e, StageStarted) else None
        for e in stage.events
        if isinstance(e, StageStarted | StepStarted)
    ]
    assert kinds[:2] == [("a",), ("b",)]


def test_identical_builds_do_each_step_once(stage: Stage) -> None:
    nested = " ".join(f"(build n{i} ((from busybox) (run (shell same))))" for i in range(6))
    stage.build(f"({nested} (from busybox))", Options(jobs=4))
    assert _commands(stage) == ["same"]
    assert stage.kinds().count("saved") == 2
    assert stage.kinds().count("hit") == 11


def test_the_first_failure_is_told_and_stops_the_others(stage: Stage) -> None:
    failed = Event()

    def script(step: RunStep) -> tuple[bytes, int]:
        if step.cmd == "two":
            return b"", 7
        if step.cmd == "one":
            assert failed.wait(PATIENCE)
        return b"", 0

    def emit(event: Happening) -> None:
        stage.events.append(event)
        if isinstance(event, StepFailedEvent) and event.status == 7:
            failed.set()

    stage.engine.script = script
    spec = TWO.replace("(run (shell one))", "(run (shell one)) (run (shell never))")
    with pytest.raises(StepFailed) as caught:
        stage.build(spec, Options(jobs=4), emit)
    assert caught.value.status == 7
    assert "never" not in _commands(stage)


def test_a_failure_around_nested_builds_stops_them(stage: Stage) -> None:
    failed = Event()

    def script(step: RunStep) -> tuple[bytes, int]:
        if step.cmd == "last":
            return b"", 3
        assert failed.wait(PATIENCE)
        return b"", 0

    def emit(event: Happening) -> None:
        if isinstance(event, StepFailedEvent) and event.status == 3:
            failed.set()

    stage.engine.script = script
    with pytest.raises(StepFailed):
        stage.build(TWO, Options(jobs=4), emit)


class Beside:
    """A second build of the same store, in a thread; what it emits is seen as it comes."""

    def __init__(self, stage: Stage, emit: Callable[[Happening], None] = lambda _: None):
        self.events: list[Happening] = []
        self.cancel = Event()
        self.result: Result | None = None
        self.error: ObuildError | None = None
        self._stage = stage
        self._told = emit
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        def emit(event: Happening) -> None:
            self.events.append(event)
            self._told(event)

        with Store.open(self._stage.path) as store:
            executor = Executor(
                store,
                lambda _: self._stage.engine,
                lambda _: None,
                Inputs(lambda: BuildContext(str(self._stage.context)), {}, Options()),
                emit,
                self.cancel,
                spec="x.spec",
            )
            try:
                self.result = executor.run(read_spec(Text("x.spec", SPEC.encode())))
            except ObuildError as error:
                self.error = error
            finally:
                executor.close()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def output(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, StepOutput))


def test_who_comes_second_follows_the_log_from_its_beginning(stage: Stage) -> None:
    reached, go_on = Event(), Event()

    def run(key: str, output: Callable[[bytes], None]) -> None:
        output(b"early\n")
        reached.set()
        assert go_on.wait(PATIENCE)
        output(b"late\n")

    stage.engine.talk = {"make": run}
    first = Beside(stage)
    assert reached.wait(PATIENCE)
    seen = Event()

    def told(event: Happening) -> None:
        if isinstance(event, StepOutput) and b"early" in event.data:
            seen.set()

    second = Beside(stage, told)
    assert seen.wait(PATIENCE), "the second build must show what was printed before it came"
    go_on.set()
    first.join()
    second.join()
    assert first.result == second.result != None  # noqa: E711
    assert second.output() == first.output() == b"early\nlate\n"
    assert any(isinstance(event, StepWaiting) for event in second.events)
    assert _commands(stage).count("make") == 1
    key = next(e.key for e in first.events if isinstance(e, StepSaved) and e.step == 2)
    assert any(isinstance(e, StepHit) and e.key == key for e in second.events)


def test_who_comes_second_takes_over_when_the_first_is_cancelled(stage: Stage) -> None:
    reached, waiting = Event(), Event()
    calls: list[int] = []

    def run(_: str, output: Callable[[bytes], None]) -> None:
        calls.append(1)
        output(b"hello %d\n" % len(calls))
        if len(calls) == 1:
            reached.set()
            assert waiting.wait(PATIENCE)
            assert first.cancel.wait(PATIENCE)
            raise Cancelled("cancelled")

    def told(event: Happening) -> None:
        if isinstance(event, StepWaiting):
            waiting.set()

    stage.engine.talk = {"make": run}
    first = Beside(stage)
    assert reached.wait(PATIENCE)
    second = Beside(stage, told)
    assert waiting.wait(PATIENCE)
    first.cancel.set()
    first.join()
    second.join()
    assert isinstance(first.error, Cancelled)
    assert second.result is not None
    assert len(calls) == 2
    log = stage.store.read_log(
        next(e.key for e in second.events if isinstance(e, StepStarted) and "make" in e.title)
    )
    assert log is not None
    assert b"".join(log) == b"hello 2\n"
    said = [e.reason for e in second.events if isinstance(e, StepWaiting)]
    assert "did not get through" in said[-1]


def test_a_step_that_is_done_says_why(stage: Stage) -> None:
    stage.build()
    assert [e for e in stage.events if isinstance(e, StepExplained)]
    stage.build()
    assert not [e for e in stage.events if isinstance(e, StepExplained)]
