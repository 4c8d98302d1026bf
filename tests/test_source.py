"""Places and excerpts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.errors import nearest
from obuild.source import Place, Text, decode, encode


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert encode(decode(data)) == data


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 400))
def test_an_excerpt_is_printable_and_bounded(data: bytes, one: int, other: int) -> None:
    start, end = sorted((min(one, len(data)), min(other, len(data))))
    place = Place(Text("x", data), start, end)
    line, carets = place.excerpt()
    assert len(line) <= 200
    assert carets.strip() == "^" * len(carets.strip()) != ""
    assert all(c.isprintable() for c in line)
    assert place.line >= 1
    assert place.column >= 1


def test_carets_stand_below_what_they_mean() -> None:
    data = "one\n  zwei é drei".encode()
    place = Place(Text("x", data), data.index(b"drei"), len(data))
    line, carets = place.excerpt()
    assert line[carets.index("^") :] == "drei"
    assert str(place) == "x:2:10"


def test_a_long_line_is_cut_around_the_place() -> None:
    data = b"a" * 5000 + b"HERE" + b"b" * 5000
    line, carets = Place(Text("x", data), 5000, 5004).excerpt()
    assert line[carets.index("^") :].startswith("HERE")
    assert carets.count("^") == 4


@pytest.mark.parametrize(
    ("word", "expected"),
    [("shel", "shell"), ("RUN", "run"), ("cpoy", "copy"), ("volume", None), ("x", None)],
)
def test_nearest(word: str, expected: str | None) -> None:
    assert nearest(word, ["run", "shell", "copy", "env"]) == expected
