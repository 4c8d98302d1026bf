"""Why a step is done, where the displays say it: below it if asked for, and of one that
failed in any case."""

import io
import json

import pytest

from obuild.events import NEVER_BUILT, Event, StepExplained, StepHit, StepSaved
from obuild.progress import make
from tests.progress.builds import FAILED, KEY, start
from tests.progress.test_plain import quiet
from tests.progress.test_tty import Display

WHY = StepExplained(3, ("src/a.py: content", "env A: \x1b[2J1 →\n2"))
BUILT: list[Event] = [start(3), WHY, StepSaved(3, KEY, 1.0)]


def written(mode: str, *events: Event, explain: bool = False, is_quiet: bool = False) -> str:
    out = io.BytesIO()
    show = make(mode, out, color=False, explain=explain, quiet=is_quiet, width=60)
    for event in events:
        show(event)
    show.close()
    return out.getvalue().decode()


def test_plain() -> None:
    title = '#3 (run (shell "make"))\n'
    assert written("plain", *BUILT) == f"{title}#3 done in 1.0 s\n"
    assert written("plain", *BUILT, explain=True) == (
        f"{title}#3 not cached: src/a.py: content\n#3 not cached: env A: 1 → 2\n#3 done in 1.0 s\n"
    )


def test_json_says_it_in_any_case() -> None:
    records = [json.loads(line) for line in written("json", *BUILT).splitlines()]
    assert records[1]["event"] == "step-explained"
    assert records[1]["step"] == 3
    assert records[1]["reasons"] == list(WHY.reasons)
    assert written("json", *BUILT, explain=True, is_quiet=True) == ""


def test_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the line of the step, whose order among others is that of their ends."""
    steps = [start(2), *BUILT[:2], StepHit(2, KEY, 0.0), BUILT[2]]
    display = Display(monkeypatch, explain=True)
    display.take(*steps)
    lines = display.finish()
    assert [line.split("  ")[0] for line in lines[:2]] == ['✔ (run (shell "make"))'] * 2
    assert lines[2:] == ["    src/a.py: content", "    env A: 1 → 2"]
    plain = Display(monkeypatch)
    plain.take(*steps)
    assert plain.finish() == lines[:2]


def test_the_report_of_a_failure() -> None:
    told = "  why run  src/a.py: content\n           env A: 1 → 2\n"
    assert told in quiet([start(3), WHY, FAILED])
    assert told in written("plain", start(3), WHY, FAILED)
    assert "why run" not in quiet([start(3), StepExplained(3, (NEVER_BUILT,)), FAILED])
