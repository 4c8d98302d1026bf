"""Every golden spec: valid or refused, its three printed forms, its four Dockerfiles."""

from __future__ import annotations

from typing import Any

import pytest

from obuild.errors import ScriptError
from obuild.frontend.obuilder import read_spec
from obuild.ir.dockerfile import dockerfile
from obuild.ir.printing import build_sexp, pretty
from obuild.sexp import to_human, to_machine
from obuild.source import Text, encode
from tests.vectors import cases, data

CASES = cases("spec/spec.json")
VALID = [case for case in CASES if case["valid"]]
REFUSED = [case for case in CASES if not case["valid"]]


def _name(case: dict[str, Any]) -> str:
    return str(case["name"])


def _text(case: dict[str, Any]) -> Text:
    return Text("x.spec", data(case["spec"]))


@pytest.mark.parametrize("case", VALID, ids=_name)
def test_printed_forms(case: dict[str, Any]) -> None:
    build = read_spec(_text(case))
    assert encode(pretty(build)) == data(case["pp"])
    assert encode(to_machine(build_sexp(build))) == data(case["mach"])
    assert encode(to_human(build_sexp(build))) == data(case["hum"])


@pytest.mark.parametrize("case", VALID, ids=_name)
def test_printed_forms_read_back(case: dict[str, Any]) -> None:
    build = read_spec(_text(case))
    for form in ("pp", "mach", "hum"):
        assert read_spec(Text("again.spec", data(case[form]) + b"\n")) == build


@pytest.mark.parametrize("case", VALID, ids=_name)
@pytest.mark.parametrize(
    "style", ["plain-unix", "plain-windows", "buildkit-unix", "buildkit-windows"]
)
def test_dockerfiles(case: dict[str, Any], style: str) -> None:
    build = read_spec(_text(case))
    mounts, escape = style.split("-")
    expected = case["dockerfile"][style]
    options = {"buildkit": mounts == "buildkit", "windows": escape == "windows"}
    if expected["exit_code"] != 0:  # the reference failed an assertion
        with pytest.raises(ScriptError, match="numeric user"):
            dockerfile(build, **options)
        return
    assert encode(dockerfile(build, **options)) + b"\n" == data(expected["stdout"])


@pytest.mark.parametrize("case", REFUSED, ids=_name)
def test_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ScriptError) as refused:
        read_spec(_text(case))
    place = refused.value.place
    assert place is not None
    assert "^" in place.excerpt()[1]


@pytest.mark.parametrize(
    ("spec", "message", "hint", "column"),
    [
        ("((from a) (copyy (src a) (dst b)))", "there is no op 'copyy'", "did you mean copy?", 12),
        ("((from a) (RUN (shell x)))", "there is no op 'RUN'", "did you mean run?", 12),
        ("((from a) (run (shel x)))", "run has no field shel", "did you mean shell?", 16),
        ("((form a))", "before the ops there must be", "did you mean from?", 2),
        ("((from a) (volume /d))", "there is no op 'volume'", "has no meaning", 12),
        ("((from a b))", "from takes one image", "a tag is part", 2),
        ("((from a) (workdir /a /b))", "workdir takes 1 argument, not 2", "quote a text", 11),
        ("((from a (rezolve)))", "from has no field rezolve", "did you mean resolve?", 10),
    ],
)
def test_words(spec: str, message: str, hint: str, column: int) -> None:
    with pytest.raises(ScriptError) as refused:
        read_spec(Text("x.spec", spec.encode()))
    assert refused.value.message.startswith(message)
    assert hint in (refused.value.hint or "")
    assert refused.value.place is not None
    assert refused.value.place.column == column


def test_bases_may_have_a_platform_and_be_resolved() -> None:
    build = read_spec(Text("x", b"((from a:1 (resolve) (platform linux/arm64)))"))
    assert build.target.base.platform == "linux/arm64"
    assert build.target.base.resolve
    assert read_spec(Text("y", encode(pretty(build)))) == build


def test_builds_nested_too_deeply_are_refused() -> None:
    spec = b"((build b " * 500 + b"((from a))" + b") (from a))" * 500
    with pytest.raises(ScriptError, match="nested more than"):
        read_spec(Text("x", spec))
