"""The ids of the reference, computed without running anything, as far as they are known."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from obuild.context import BuildContext
from obuild.errors import ObuildError
from obuild.executor.inputs import Inputs, Options
from obuild.executor.plan import Plan, plan
from obuild.frontend.obuilder import read_spec
from obuild.ir.ops import Base, NamedUser
from obuild.ir.steps import RunStep
from obuild.keys import base_preimage, key_of, run_preimage
from obuild.platforms import LINUX, WINDOWS
from obuild.source import Text
from tests.vectors import cases, plant

CASES = [*cases("keys/keys.json"), *cases("keys/workdirs.json")]


def _plan(case: dict[str, Any], tmp_path: Path) -> Plan:
    plant(tmp_path / "context", case["context"])
    secrets = {s["id"]: base64.b64decode(s["value_b64"]) for s in reversed(case["secrets"])}
    inputs = Inputs(
        lambda: BuildContext(str(tmp_path / "context")), secrets, Options(obuilder_keys=True)
    )
    return plan(read_spec(Text("x.spec", case["spec"].encode())), inputs, LINUX)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_keys(case: dict[str, Any], tmp_path: Path) -> None:
    found = _plan(case, tmp_path)
    steps = [(list(step.within), step.key) for step in found.steps]
    expected = [(step["within"], step["id"]) for step in case["steps"]]
    unknown = next((i for i, step in enumerate(found.steps) if step.key is None), None)
    if unknown is not None:  # a copy from a build: all that does not stand on it is known
        assert all(step.reason for step in found.steps if step.key is None)
        known = [pair for pair in steps if pair[1] is not None]
        assert all(pair in expected for pair in known)
        assert steps[:unknown] == expected[:unknown]
        return
    assert steps[: len(expected)] == expected
    if case["exit_code"] == 0:
        assert found.error is None
        assert found.target == case["result"]
        assert len(steps) == len(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail-copy-missing", 'Source path "nope" not found'),
        ("fail-copy-dotdot", 'Can\'t use .. in source paths! (in "../bell.txt")'),
        ("fail-copy-two-to-file", "2 sources cannot all become /b"),
        ("fail-copy-none", "this copy has no sources"),
        ("fail-secret-missing", "no value was given for the secret 'key'"),
    ],
)
def test_builds_that_must_fail_plan_the_steps_before(
    name: str, message: str, tmp_path: Path
) -> None:
    case = next(case for case in CASES if case["name"] == name)
    found = _plan(case, tmp_path)
    assert isinstance(found.error, ObuildError)
    assert found.error.message == message
    assert found.error.exit_code == 1
    assert found.error.place is not None
    assert [step.key for step in found.steps] == [step["id"] for step in case["steps"]]


def test_the_sample_of_the_documentation() -> None:
    """A Windows guest: base, a run, and a run on that."""
    image = "mcr.microsoft.com/windows/servercore:ltsc2022"
    base = key_of(base_preimage(Base(image)))
    assert base == "bc3bc8408e84c12c2b5f24aa91b444894b55e26069b66e8034890634b08aef1d"
    user, shell = NamedUser("ContainerAdministrator"), WINDOWS.shell
    first = key_of(run_preimage(base, RunStep("C:/", user, (), "echo hello > world", shell, ())))
    assert first == "ac4488b2ca69de829c9a8bbcd9efa2ddff493a3b5888a53ec20a1343ea34b2bd"
    second = key_of(run_preimage(first, RunStep("C:/", user, (), "type world", shell, ())))
    assert second == "7332a0565a4047bdd2c0b778bf3a9175518218879547eb8ddde6832d57861153"


def test_the_same_sample_from_its_spec(tmp_path: Path) -> None:
    spec = b"""((from mcr.microsoft.com/windows/servercore:ltsc2022)
     (run (shell "echo hello > world")) (run (shell "type world")))"""
    inputs = Inputs(lambda: BuildContext(str(tmp_path)), {}, Options())
    found = plan(read_spec(Text("x", spec)), inputs, WINDOWS)
    assert found.target == "7332a0565a4047bdd2c0b778bf3a9175518218879547eb8ddde6832d57861153"
