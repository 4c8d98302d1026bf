"""Every example of ``corpus/`` that a reader may try does what its first lines say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.program import Obuild

_ROOT = Path(__file__).resolve().parent.parent.parent
_SPECS = sorted(path.relative_to(_ROOT) for path in (_ROOT / "corpus").rglob("*.spec"))


def _command(spec: Path) -> list[str]:
    """The command line that the comment at the top of a spec tells to try."""
    for line in (_ROOT / spec).read_text().splitlines():
        _, found, rest = line.partition("obuild run ")
        if line.startswith(";") and found:
            return ["run", *shlex.split(rest)]
    raise AssertionError(f"{spec} does not say how to try it")


def test_there_are_examples() -> None:
    assert _SPECS


@pytest.mark.parametrize("spec", _SPECS, ids=str)
def test_example_has_no_fault(obuild: Obuild, spec: Path) -> None:
    done = obuild("check", spec, cwd=_ROOT)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.engine
@pytest.mark.parametrize("spec", _SPECS, ids=str)
def test_example_runs_and_is_kept(obuild: Obuild, spec: Path) -> None:
    first = obuild(*_command(spec), cwd=_ROOT)
    assert first.returncode == 0, first.stderr.decode()
    again = obuild(*_command(spec), "--progress", "json", cwd=_ROOT)
    assert again.returncode == 0, again.stderr.decode()
    assert again.stdout == first.stdout
    assert b'"step-saved"' not in again.stderr
    assert b'"step-hit"' in again.stderr


@pytest.mark.engine
def test_hello_greets(obuild: Obuild) -> None:
    done = obuild("run", "corpus/hello/simple.spec", "--progress", "plain", cwd=_ROOT)
    assert b"Hello from obuild, Grace!" in done.stderr
    plan = obuild("plan", "corpus/hello/simple.spec", cwd=_ROOT)
    key = plan.stdout.split(b"\n")[-2].split()[0]
    assert done.stdout == b'Got: "%s"\n' % key
