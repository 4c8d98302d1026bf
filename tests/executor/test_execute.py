"""Builds on an engine that plays its part: what is done, what is taken from the store."""

from __future__ import annotations

import pytest

from obuild.engine import Import, PutFiles, RunCommand, Seal
from obuild.errors import Cancelled, ImageError, SourceError, StepFailed
from obuild.events import (
    BuildFinished,
    Heading,
    StepOutput,
    StepStarted,
    Warned,
)
from obuild.executor.inputs import Options
from obuild.ir.steps import RunStep
from tests.executor.builds import Stage


def test_a_first_build_does_every_step(stage: Stage) -> None:
    result = stage.build()
    assert stage.actions() == [Import, RunCommand, PutFiles, RunCommand]
    assert stage.kinds() == ["saved"] * 4
    assert stage.engine.restored == [result.key]
    finished = stage.events[-1]
    assert finished == BuildFinished(result.key, finished.seconds, 0, 4)  # type: ignore[union-attr]
    rows = {row.id: row.parent for row in stage.store.rows()}
    assert len(rows) == 4
    record = stage.store.record(result.key)
    assert record is not None
    assert record.title == "(run (shell check))"
    assert record.preimage.startswith("((base ")


def test_a_second_build_asks_one_small_question(stage: Stage) -> None:
    first = stage.build()
    stage.glanced.clear()
    engines = stage.engines
    second = stage.build()
    assert second == first
    assert stage.kinds() == ["hit"] * 4
    assert stage.actions() == []
    assert stage.engines == engines, "the engine must not be started"
    assert stage.glanced == [[first.key]]


def test_headings_are_those_of_the_reference(stage: Stage) -> None:
    stage.build()
    headings = [event.text for event in stage.events if isinstance(event, Heading)]
    assert headings[0] == "(from busybox)"
    assert headings[1] == "/: (comment hi)"
    assert headings[-1] == "/w: (run (shell check))"


def test_an_edited_file_misses_what_sees_it(stage: Stage) -> None:
    stage.build()
    (stage.context / "f").write_text("g")
    stage.build()
    assert stage.kinds() == ["hit", "hit", "saved", "saved"]


def test_an_x_bit_is_in_the_key_unless_obuilder_keys_are_asked_for(stage: Stage) -> None:
    stage.build()
    (stage.context / "f").chmod(0o755)
    stage.build()
    assert stage.kinds() == ["hit", "hit", "saved", "saved"]
    stage.build(options=Options(obuilder_keys=True))
    assert stage.kinds() == ["hit"] * 4


def test_a_copy_with_other_x_bits_under_the_same_key_is_no_hit(stage: Stage) -> None:
    """OBuilder's key says nothing of x bits; what stands on such a copy goes too."""
    (stage.context / "f").chmod(0o755)
    stage.build(options=Options(obuilder_keys=True))
    (stage.context / "f").chmod(0o644)
    stage.build(options=Options(obuilder_keys=True))
    assert stage.kinds() == ["hit"] * 4
    warnings = [event.message for event in stage.events if isinstance(event, Warned)]
    assert warnings == ["f: the executable bit is another in the stored copy"]
    stage.build()
    assert stage.kinds() == ["hit", "hit", "saved", "saved"]
    stage.build()
    assert stage.kinds() == ["hit"] * 4


def test_a_snapshot_that_went_behind_our_back_is_made_again(stage: Stage) -> None:
    result = stage.build()
    stage.engine.delete([result.key])
    assert stage.build() == result
    assert stage.kinds() == ["hit", "hit", "hit", "saved"]


def test_a_snapshot_in_the_middle_is_not_needed(stage: Stage) -> None:
    result = stage.build()
    copy = [row.id for row in stage.store.rows()][2]
    stage.engine.delete([copy])
    assert stage.build() == result
    assert stage.kinds() == ["hit"] * 4


def test_a_base_that_somebody_removed_is_imported_again_for_its_configuration(
    stage: Stage,
) -> None:
    short = "((from busybox) (shell /bin/sh -c) (run (shell a)) (run (shell b)))"
    stage.build(short)
    base, run, _ = [row.id for row in stage.store.rows()]
    stage.engine.delete([base])
    result = stage.build("((from busybox) (shell /bin/sh -c) (run (shell a)))")
    assert result.key == run
    assert stage.engine.restored[-1] == run
    assert stage.engine.exists(base)


def test_a_failing_step_keeps_what_was_before_it(stage: Stage) -> None:
    def script(step: RunStep) -> tuple[bytes, int]:
        return (b"boom\n", 3) if step.cmd == "check" else (b"", 0)

    stage.engine.script = script
    with pytest.raises(StepFailed) as failed:
        stage.build()
    assert failed.value.status == 3
    assert failed.value.place is not None
    assert failed.value.place.line == 2
    assert stage.kinds() == ["saved", "saved", "saved", "failed"]
    assert len(stage.store.rows()) == 3
    stage.engine.script = lambda _: (b"", 0)
    stage.build()
    assert stage.kinds() == ["hit", "hit", "hit", "saved"]


def test_the_log_is_kept_and_replayed_on_request(stage: Stage) -> None:
    stage.engine.script = lambda step: (step.cmd.encode() + b"\n", 0)
    result = stage.build()
    assert b"".join(stage.store.read_log(result.key) or ()) == b"check\n"
    stage.build()
    assert not [event for event in stage.events if isinstance(event, StepOutput)]
    stage.build(options=Options(replay=True))
    replayed = [event for event in stage.events if isinstance(event, StepOutput)]
    assert [event.data for event in replayed] == [b"make\n", b"check\n"]
    assert all(event.replayed for event in replayed)


def test_a_missing_source_fails_at_its_place_and_keeps_the_steps_before(stage: Stage) -> None:
    (stage.context / "f").unlink()
    with pytest.raises(SourceError) as failed:
        stage.build()
    assert failed.value.message == 'Source path "f" not found'
    assert failed.value.place is not None
    assert stage.kinds() == ["saved", "saved"]


def test_an_unknown_image_fails_at_its_place(stage: Stage) -> None:
    with pytest.raises(ImageError) as failed:
        stage.build("((from nonesuch) (run (shell x)))")
    assert failed.value.place is not None
    assert stage.store.rows() == []


def test_a_cancelled_build_starts_nothing(stage: Stage) -> None:
    stage.cancel.set()
    with pytest.raises(Cancelled):
        stage.build()
    assert stage.actions() == []
    assert isinstance(stage.events[-1], BuildFinished)


def test_a_name_gets_a_sealed_image_under_a_key_of_its_own(stage: Stage) -> None:
    result = stage.build(options=Options(tags=("app", "app:2")))
    seals = [action for action in stage.engine.performed if isinstance(action, Seal)]
    assert len(seals) == 1
    assert seals[0].config.env == ("A=1",)
    assert seals[0].config.workdir == "/w"
    assert seals[0].config.user == "0:0"
    assert seals[0].config.shell == ("/bin/sh", "-c")
    sealed = stage.engine.names["app"]
    assert stage.engine.names["app:2"] == sealed != result.key
    assert stage.store.descendants(result.key) == [sealed, result.key]
    stage.build(options=Options(tags=("app",)))
    assert Seal not in stage.actions()


def test_pinning_writes_the_digest_into_the_name(stage: Stage) -> None:
    plain = stage.build("((from busybox) (run (shell x)))")
    pinned = stage.build("((from busybox) (run (shell x)))", Options(pin=True))
    written = stage.build("((from busybox@sha256:busybox) (run (shell x)))")
    assert pinned == written != plain


def test_a_platform_option_acts_like_one_in_the_spec(stage: Stage) -> None:
    asked = stage.build("((from busybox) (run (shell x)))", Options(platform="linux/arm64"))
    assert asked == stage.build("((from busybox (platform linux/arm64)) (run (shell x)))")
    assert asked != stage.build("((from busybox) (run (shell x)))")


def test_nested_builds_run_first_and_share_steps(stage: Stage) -> None:
    stage.build(
        """((build a ((from busybox) (run (shell x))))
            (build b ((from busybox) (run (shell x)) (run (shell y))))
            (from busybox) (run (shell z)))""",
        Options(jobs=1),
    )
    started = [event.within for event in stage.events if isinstance(event, StepStarted)]
    assert started == [("a",), ("a",), ("b",), ("b",), ("b",), (), ()]
    assert stage.kinds() == ["saved", "saved", "hit", "hit", "saved", "hit", "saved"]
