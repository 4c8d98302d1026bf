"""Why steps are done again, on an engine that plays its part: which build a step is compared
with, and that ``explain`` tells before a build what the build then does and says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from obuild.context import BuildContext
from obuild.engine import ResolvedImage
from obuild.errors import EngineUnavailable
from obuild.events import Event, StepExplained, StepHit, StepStarted
from obuild.executor.explain import Explained, Explanation, Looks, explain
from obuild.executor.inputs import Inputs, Options
from obuild.executor.plan import PlannedStep, plan
from obuild.frontend.obuilder import read_spec
from obuild.ir.steps import RunStep
from obuild.keys import kept
from obuild.platforms import LINUX
from obuild.source import Text
from tests.executor.builds import Stage

NEVER = ("never built here",)


class Explaining(Stage):
    """As its base, and it can tell before a build what there is to do."""

    def __init__(self, tmp_path: Path):
        super().__init__(tmp_path)
        self.named: Callable[[str, str | None], ResolvedImage | None] = lambda *_: None

    def do(self, *ops: str, base: str = "busybox", options: Options | None = None) -> list[str]:
        """Build; what was told of each step, a line each."""
        self.build(_spec(ops, base), options)
        return _lines(self.events)

    def tell(
        self,
        *ops: str,
        base: str = "busybox",
        options: Options | None = None,
        path: str = "x.spec",
    ) -> Explained:
        inputs = Inputs(
            lambda: BuildContext(str(self.context)),
            self.secrets,
            options or Options(),
            self.store.manifests,
        )

        def preimage(step: PlannedStep) -> str:
            assert step.prepared is not None
            secrets = step.step.secrets if isinstance(step.step, RunStep) else ()
            return kept(step.prepared.preimage, secrets, self.store.secret_key())

        looks = Looks(self.glance, self.named, self.engine.inspect)
        spec = read_spec(Text("x.spec", _spec(ops, base).encode()))
        found = plan(spec, inputs, LINUX, looks.find)
        return explain(
            found,
            self.store,
            looks,
            preimage,
            spec=path,
            obuilder_keys=inputs.options.obuilder_keys,
        )


def _spec(ops: tuple[str, ...], base: str) -> str:
    return f"((from {base}) (shell /bin/sh -c) {' '.join(ops)})"


def _run(command: str) -> str:
    return f'(run (shell "{command}"))'


def _lines(events: list[Event]) -> list[str]:
    lines: dict[int, str] = {}
    for event in events:
        match event:
            case StepStarted(step=step):
                lines[step] = "built without a reason"
            case StepHit(step=step):
                lines[step] = "hit"
            case StepExplained(step=step, reasons=reasons):
                lines[step] = "; ".join(reasons)
    return [lines[step] for step in sorted(lines)]


def _told(steps: tuple[Explanation, ...]) -> list[str]:
    return [one.verdict if one.verdict == "hit" else "; ".join(one.reasons) for one in steps]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Explaining]:
    made = Explaining(tmp_path)
    yield made
    made.store.close()


A, B, C = _run("make one"), _run("make two"), _run("make three")
COPY = "(copy (src f) (dst /f))"


def test_a_first_build(stage: Explaining) -> None:
    assert _told(stage.tell(A, B).steps) == [*NEVER] * 3
    assert stage.do(A, B) == [*NEVER] * 3
    assert stage.do(A, B) == ["hit"] * 3
    assert not any(isinstance(event, StepExplained) for event in stage.events)
    assert stage.tell(A, B).steps[2].reasons == ()


def test_a_change_is_told_once_and_named_after(stage: Explaining) -> None:
    stage.do("(env HOURS 12)", A, COPY, B)
    (stage.context / "f").write_text("other")
    (stage.context / "f").chmod(0o755)
    copied = "f: content, now executable"
    assert stage.do("(env HOURS 12)", A, COPY, B) == [
        "hit",
        "hit",
        copied,
        "because step 3 changed",
    ]
    assert stage.do("(env HOURS 13)", A, COPY, B) == [
        "hit",
        "env HOURS: 12 → 13",
        "because step 2 changed",
        "because step 2 changed",
    ]


def test_a_change_of_its_own_in_a_step_after_one_that_changed(stage: Explaining) -> None:
    stage.do(A, B, C)
    assert stage.do(_run("make 1"), B, _run("make 3")) == [
        "hit",
        "command: make one → make 1",
        "because step 2 changed",
        "command: make three → make 3; because step 2 changed",
    ]


def test_an_op_that_was_put_in(stage: Explaining) -> None:
    stage.do(A, COPY, C)
    assert stage.do(A, B, COPY, C) == [
        "hit",
        "hit",
        *NEVER,
        "because step 3 changed",
        "because step 3 changed",
    ]


def test_an_op_that_was_taken_out(stage: Explaining) -> None:
    stage.do(A, B, C)
    assert stage.do(A, C) == [
        "hit",
        "hit",
        'the step before it was taken out: (run (shell "make two"))',
    ]
    stage.do(A, B, COPY, C)
    assert stage.do(A, COPY, _run("make four")) == [
        "hit",
        "hit",
        'the step before it was taken out: (run (shell "make two"))',
        "command: make three → make four; because step 3 changed",
    ]


def test_ops_that_changed_places(stage: Explaining) -> None:
    stage.do(A, COPY)
    assert stage.do(COPY, A) == ["hit", "the step before it is another", "because step 2 changed"]


def test_a_stored_step_that_is_not_the_last_time_s(stage: Explaining) -> None:
    """Step 2 is as it was the time before last."""
    stage.do(A, C)
    stage.do(B, C)
    assert stage.do(A, _run("make 3")) == [
        "hit",
        "hit",
        "command: make three → make 3; because step 2 changed",
    ]


def test_another_spec_on_the_same_snapshot(stage: Explaining) -> None:
    """The nearest of what stands there, not the newest; nothing that is not alike."""
    stage.do("(env A 1)", "(env B 1)", _run("make all of it"))
    stage.do("(env A 3)", "(env B 3)", _run("make all of it"))
    told = stage.tell("(env A 2)", "(env B 1)", _run("make all of it"), path="y.spec").steps
    assert _told(told) == ["hit", "env A: 1 → 2"]
    assert _told(stage.tell(_run("bake a cake"), path="y.spec").steps) == ["hit", *NEVER]


def test_evicted(stage: Explaining) -> None:
    stage.do(A, B)
    keys = [step.step.key for step in stage.tell(A, B).steps]
    for key in (keys[2], keys[1], keys[0]):
        assert key is not None
        stage.engine.delete([key])
        stage.store.forget([key], "prune")
    told = _told(stage.tell(A, B).steps)
    assert all(line.startswith("evicted by prune on 20") for line in told)
    assert stage.do(A, B) == told
    assert stage.do(A, B) == ["hit"] * 3


def test_evicted_below_what_changed(stage: Explaining) -> None:
    """What was evicted has not changed, and is not blamed."""
    stage.do(A, B, C)
    key = stage.tell(A).steps[1].step.key
    assert key is not None
    stage.engine.delete([key])
    stage.store.forget([key], "delete")
    told = stage.do(A, _run("make 2"), C)
    assert told[0] == "hit"
    assert told[1].startswith("evicted by delete on 20")
    assert told[2:] == ["command: make two → make 2", "because step 3 changed"]


def test_an_image_that_is_gone(stage: Explaining) -> None:
    """``explain`` sees that it is gone, a build that the store was put right."""
    stage.do(A, B)
    key = stage.tell(A, B).steps[2].step.key
    assert key is not None
    stage.engine.delete([key])
    assert _told(stage.tell(A, B).steps) == ["hit", "hit", "its image is gone from the engine"]
    assert stage.do(A, B)[2].startswith("the image was removed behind obuild's back")


def test_a_secret(stage: Explaining) -> None:
    used = '(run (secrets (token (target /etc/t))) (shell "use it"))'
    stage.secrets = {"token": b"first value"}
    stage.do(used)
    stage.secrets = {"token": b"second value"}
    assert _told(stage.tell(used).steps) == ["hit", "secret token: another value"]
    assert stage.do(used) == ["hit", "secret token: another value"]


def test_x_bits_under_a_key_that_does_not_tell_them(stage: Explaining) -> None:
    """A key of OBuilder's kind; the copy is made anew, and so is what stands on it."""
    keys = Options(obuilder_keys=True)
    (stage.context / "f").chmod(0o755)
    stage.do(COPY, A, options=keys)
    (stage.context / "f").chmod(0o644)
    stays = stage.tell(COPY, A, options=keys).steps
    assert [one.verdict for one in stays] == ["hit"] * 3
    assert stays[1].reasons == ("f: no longer executable",)
    told = ["hit", "f: no longer executable", "because step 2 changed"]
    assert _told(stage.tell(COPY, A).steps) == told
    assert stage.do(COPY, A) == told
    (stage.context / "f").chmod(0o755)
    stage.do(COPY, A, options=keys)
    told = ["hit", "f: now executable", "because step 2 changed"]
    assert stage.do(COPY, A) == told


def test_stages_are_apart(stage: Explaining) -> None:
    def spec(inner: str, outer: str) -> str:
        nested = f"(build dev ((from busybox) (shell /bin/sh -c) {_run(inner)} {_run('end')}))"
        return f"({nested} (from busybox) (shell /bin/sh -c) {_run(outer)})"

    one = Options(jobs=1)  # so that the steps are counted in the order of the text
    stage.build(spec("make one", "make two"), one)
    stage.build(spec("make 1", "make two"), one)
    assert _lines(stage.events) == [
        "hit",
        "command: make one → make 1",
        "because step 2 changed",
        "hit",
        "hit",
    ]
    stage.build(spec("make 1", "make 2"), one)
    assert _lines(stage.events)[3:] == ["hit", "command: make two → make 2"]


def test_a_base_that_was_rebuilt(stage: Explaining) -> None:
    """One that counts by its digest is another; one that counts by its name is a hit."""
    stage.named = lambda name, platform: stage.engine.resolve(
        name, platform, lambda _: None, 1, pull=False
    )
    by_digest = "busybox (resolve)"
    stage.do(A)
    counted = "base: busybox counts by its digest now, sha256:busybox"
    assert stage.do(A, base=by_digest) == [counted, "because step 1 changed"]
    stage.engine.images["busybox"] = "sha256:another"
    rebuilt = "base: busybox was rebuilt, sha256:busybox → sha256:another"
    told = [rebuilt, "because step 1 changed"]
    assert _told(stage.tell(A, base=by_digest).steps) == told
    assert stage.do(A, base=by_digest) == told
    by_name = stage.tell(A).steps
    assert [one.verdict for one in by_name] == ["hit", "hit"]
    assert by_name[0].reasons == (
        "base: busybox was rebuilt, but its name counts, not its digest (--pin)",
    )


def test_a_pinned_base(stage: Explaining) -> None:
    stage.named = lambda name, platform: stage.engine.resolve(
        name, platform, lambda _: None, 1, pull=False
    )
    pin = Options(pin=True)
    stage.do(A)
    told = ["base: busybox counts by its digest now, sha256:busybox", "because step 1 changed"]
    assert _told(stage.tell(A, options=pin).steps) == told
    assert stage.do(A, options=pin) == told
    assert _told(stage.tell(A, options=pin).steps) == ["hit", "hit"]
    stage.named = lambda *_: None
    unknown = stage.tell(A, options=pin).steps
    assert [(one.verdict, one.step.key) for one in unknown] == [("unknown", None)] * 2
    assert unknown[0].reasons == ("the digest of the image is found when the build runs",)


def test_an_engine_that_cannot_be_asked(stage: Explaining, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.do(A)

    def silent(_: object) -> None:
        raise EngineUnavailable("nobody answers")

    monkeypatch.setattr(stage, "glance", silent)
    told = stage.tell(A, B)
    assert told.unasked == "nobody answers"
    assert _told(told.steps) == ["hit", "hit", *NEVER]
    monkeypatch.setattr(stage, "glance", lambda _: None)
    assert "more than a glance" in (stage.tell(A, B).unasked or "")


@pytest.mark.parametrize("seed", range(8))
def test_explain_tells_what_the_build_does(stage: Explaining, seed: int) -> None:
    """Through some twenty changes of one spec, its files and its store."""
    chance = random.Random(seed)
    ops = [A, COPY, B]
    for round in range(20):
        match chance.randrange(7):
            case 0:
                ops.insert(chance.randrange(len(ops) + 1), _run(f"make {chance.randrange(9)}"))
            case 1 if len(ops) > 1:
                ops.pop(chance.randrange(len(ops)))
            case 2:
                ops[chance.randrange(len(ops))] = _run(f"do it {round}")
            case 3:
                ops.insert(chance.randrange(len(ops)), f"(env V{chance.randrange(2)} {round})")
            case 4:
                (stage.context / "f").write_text(f"{chance.randrange(3)}")
            case 5:
                chance.shuffle(ops)
            case _:
                keys = [one.step.key for one in stage.tell(*ops).steps]
                gone = [key for key in keys if key and stage.store.row(key) is not None]
                for key in gone[chance.randrange(len(gone) + 1) :][::-1]:
                    stage.engine.delete([key])
                    stage.store.forget([key], "prune")
        told = stage.tell(*ops)
        assert [one.step.key for one in told.steps if one.step.key is None] == []
        assert stage.do(*ops) == _told(told.steps), (seed, round, ops)
        assert not any("built without a reason" in line for line in _told(told.steps))
    assert set(stage.kinds()) <= {"hit", "saved"}
