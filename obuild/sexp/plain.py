"""Reading what nearly all texts consist of, without the grammar.

Loading lark and its tables takes longer than all the rest of a build in which everything is
stored. So lists, words, strings and line comments are read here. A text with anything else
in it, or with any error, is left to the grammar, which alone says what the language is.
"""

from __future__ import annotations

import re

from obuild.sexp.escapes import Malformed, unescape
from obuild.sexp.value import Atom, List, Node
from obuild.source import Place, Text, decode

__all__ = ["read_plain"]

# A word with "#" or "|" may be, or run into, a comment: not plain.
_PIECE = re.compile(
    rb"(?:[ \t\n\f]|\r\n|;[^\n]*)*+"
    rb'(?:(?P<open>\()|(?P<close>\))|(?P<word>[^ \t\n\f\r()";#|]++)'
    rb'|(?P<string>"(?:[^"\\]|\\[\s\S])*+")|\Z)'
)


def read_plain(text: Text) -> tuple[Node, ...] | None:
    """All expressions of a text, in order; None if the text is not plain."""
    try:
        return _read(text)
    except Malformed:
        return None


def _read(text: Text) -> tuple[Node, ...] | None:
    data, end = text.data, 0
    nodes: list[Node] = []  # of the list that is open now
    around: list[tuple[int, list[Node]]] = []  # where it began, and the nodes before it
    while found := _PIECE.match(data, end):
        if found.lastgroup is None:
            return None if around else tuple(nodes)
        start, end = found.span(found.lastgroup)
        if found.lastgroup == "open":
            around.append((start, nodes))
            nodes = []
        elif found.lastgroup == "word":
            nodes.append(Atom(decode(data[start:end]), Place(text, start, end)))
        elif found.lastgroup == "string":
            content = unescape(data[start + 1 : end - 1], start + 1)
            nodes.append(Atom(content, Place(text, start, end)))
        elif around:
            inner = tuple(nodes)
            start, nodes = around.pop()
            nodes.append(List(inner, Place(text, start, end)))
        else:
            return None
    return None
