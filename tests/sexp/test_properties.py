"""What is printed reads back as the same value, in both forms, for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.errors import ScriptError
from obuild.sexp import Node, Sexp, quote, read_many, read_one, to_human, to_machine
from obuild.source import Text, decode, encode

ATOMS = st.one_of(
    st.binary(max_size=40).map(decode),
    st.text(alphabet='abc#|;()"\\ \n\t\r\x0c\x00é', max_size=20),
    st.sampled_from(["#", "|", "#|", "|#", "#;", ";", "", "a\nb", "\n", "x" * 90]),
)
SEXPS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=6).map(tuple), max_leaves=40)


@given(SEXPS)
def test_machine_form_reads_back(value: Sexp) -> None:
    assert _read(to_machine(value)) == value


@given(SEXPS)
def test_human_form_reads_back(value: Sexp) -> None:
    assert _read(to_human(value)) == value


@given(SEXPS)
def test_forms_are_ascii_and_only_the_human_one_has_newlines(value: Sexp) -> None:
    assert to_machine(value).isascii()
    assert "\n" not in to_machine(value)
    assert to_human(value).isascii()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes) -> None:
    refused: ScriptError | None = None
    nodes: tuple[Node, ...] = ()
    try:
        nodes = read_many(Text("x", data))
    except ScriptError as error:
        refused = error
    for node in nodes:
        assert _read(to_machine(node.value())) == node.value()
    if refused is not None:
        assert refused.place is not None
        line, carets = refused.place.excerpt()
        assert "^" in carets
        assert line.isprintable() or not line


@given(st.binary(max_size=60))
def test_quoted_text_reads_back(data: bytes) -> None:
    assert _read(quote(decode(data))) == decode(data)


def test_deep_nesting_needs_no_stack() -> None:
    depth = 20_000
    node = read_one(Text("x", b"(" * depth + b"a" + b")" * depth))
    assert to_machine(node.value()).count("(") == depth
    assert to_human(node.value()).count("(") == depth


def test_places_are_those_of_the_text() -> None:
    node = read_one(Text("x.spec", '((from é)\n (run "x y"))'.encode()))
    run = node.items[1]  # type: ignore[union-attr]
    assert (run.place.line, run.place.column) == (2, 2)
    quoted = run.items[1]  # type: ignore[union-attr]
    assert node.place.text.data[quoted.place.start : quoted.place.end] == b'"x y"'


@pytest.mark.parametrize("escape", ["\\256", "\\12", "\\x4", "\\xg0"])
def test_bad_escapes_are_shown_where_they_begin(escape: str) -> None:
    with pytest.raises(ScriptError) as refused:
        read_one(Text("x", f'(a\n "b{escape}"'.encode() + b")"))
    assert refused.value.place is not None
    assert (refused.value.place.line, refused.value.place.column) == (2, 4)


def _read(text: str) -> Sexp:
    return read_one(Text("x", encode(text) + b"\n")).value()
