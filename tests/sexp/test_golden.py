"""Every golden S-expression: what is read, what is printed, what is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from obuild.errors import ScriptError
from obuild.sexp import Node, read, read_many, read_one, to_human, to_machine
from obuild.source import Text, encode
from tests.vectors import cases

CASES = cases("sexp/sexp.json")
NAMES = [f"{index}-{case['tags'][0]}" for index, case in enumerate(CASES)]


def _text(case: dict[str, Any]) -> Text:
    return Text("input.sexp", base64.b64decode(case["input_b64"]))


@pytest.mark.parametrize("read_all", [read_many, read.read_many], ids=["either", "grammar"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_many(case: dict[str, Any], read_all: Callable[[Text], tuple[Node, ...]]) -> None:
    if not case["many"]["ok"]:
        with pytest.raises(ScriptError) as refused:
            read_all(_text(case))
        assert refused.value.place is not None
        return
    values = [node.value() for node in read_all(_text(case))]
    expected = case["many"]["sexps"]
    assert [encode(to_machine(value)) for value in values] == [
        base64.b64decode(sexp["mach_b64"]) for sexp in expected
    ]
    assert [encode(to_human(value)) for value in values] == [
        base64.b64decode(sexp["hum_b64"]) for sexp in expected
    ]


@pytest.mark.parametrize("read_it", [read_one, read.read_one], ids=["either", "grammar"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_one(case: dict[str, Any], read_it: Callable[[Text], Node]) -> None:
    if case["one"]["ok"]:
        read_it(_text(case))
        return
    with pytest.raises(ScriptError) as refused:
        read_it(_text(case))
    place = refused.value.place
    assert place is not None
    assert 0 <= place.start <= place.end <= len(place.text.data)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case["many"].get("error", {}).get("kind") == "Parse_error"],
    ids=lambda case: case["input_text"][:20],
)
def test_line_of_errors(case: dict[str, Any]) -> None:
    """The line is that of the reference; the column is ours (the start, not the end)."""
    with pytest.raises(ScriptError) as refused:
        read_many(_text(case))
    place = refused.value.place
    assert place is not None
    error = case["many"]["error"]
    assert place.line == error["text_line"]
    assert place.column <= error["text_char"] + 1
