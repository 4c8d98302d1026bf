"""Plain texts are read as the grammar reads them; whatever is not plain is left to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from obuild.errors import ScriptError
from obuild.sexp import Node, read
from obuild.sexp.plain import read_plain
from obuild.sexp.value import List
from obuild.source import Text

_CORPUS = Path(__file__).resolve().parent.parent.parent / "corpus"

PIECES = st.lists(
    st.sampled_from(
        [
            *("(", ")", "a", "é", '"', "\\", '"x"', '"\\x41"', '"\\x4"', '"\\\n  y"'),
            *(";c", "#", "|", "#;", "#|", "|#"),
            *(" ", "\n", "\r", "\r\n", "\t", "\x0c", "\x0b", "\x00", "\x85", "\xa0"),
        ]
    ),
    max_size=14,
).map(lambda pieces: "".join(pieces).encode())


@given(PIECES | st.binary(max_size=30))
@example(b"")
@example(b'a"b"c(d)e;f')
@example(b"(a ; never closed )")
@example(b"a\r")
@example(b'"\\999"')
def test_plain_texts_mean_what_the_grammar_says(data: bytes) -> None:
    text = Text("x", data)
    nodes = read_plain(text)
    if nodes is not None:
        assert [_placed(n) for n in nodes] == [_placed(n) for n in read.read_many(text)]


@given(PIECES)
def test_what_is_wrong_is_not_plain(data: bytes) -> None:
    text = Text("x", data)
    try:
        read.read_many(text)
    except ScriptError:
        assert read_plain(text) is None


@given(PIECES)
def test_only_comments_and_marks_of_them_are_not_plain(data: bytes) -> None:
    text = Text("x", data.replace(b"#", b"").replace(b"|", b""))
    if read_plain(text) is None:
        with pytest.raises(ScriptError):
            read.read_many(text)


def test_the_specs_of_the_corpus_are_plain() -> None:
    specs = sorted(_CORPUS.rglob("*.spec"))
    texts = [Text(path.name, path.read_bytes()) for path in specs]
    plain = [text for text in texts if b"#" not in text.data]
    assert len(plain) > len(texts) / 2
    assert [text.name for text in plain if read_plain(text) is None] == []


def _placed(node: Node) -> object:
    """A node with its place, which is no part of its identity."""
    inner = [_placed(item) for item in node.items] if isinstance(node, List) else node.text
    return inner, node.place.start, node.place.end
