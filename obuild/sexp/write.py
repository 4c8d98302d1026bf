"""Printing S-expressions, byte for byte as sexplib does: the machine and the human form."""

from __future__ import annotations

import re

from obuild.sexp.layout import Layout
from obuild.sexp.value import Sexp, Written
from obuild.source import encode

__all__ = ["lay_out_atom", "quote", "to_human", "to_machine", "write_atom"]

# An atom stands without quotes if it has no blanks, quotes, parentheses, semicolons,
# backslashes, control or non-ASCII characters, and nothing like a block comment.
_PLAIN = re.compile(r"[!#-'*-:<-\[\]-~]+").fullmatch

_ESCAPES = {
    **{code: f"\\{code:03d}" for code in (*range(32), *range(127, 256))},
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\t"): "\\t",
    ord("\r"): "\\r",
    ord("\b"): "\\b",
}


def _plain(text: str) -> bool:
    if _PLAIN(text) is None:
        return False
    return "|" not in text or ("#|" not in text and "|#" not in text)


def _escape(data: bytes) -> str:
    return data.decode("latin-1").translate(_ESCAPES)


def quote(text: str) -> str:
    """``text`` in double quotes, escaped as OCaml's ``%S`` does; pure ASCII."""
    return f'"{_escape(encode(text))}"'


def write_atom(text: str) -> str:
    """An atom on one line: as it is if it needs no quotes, else quoted."""
    return text if _plain(text) else quote(text)


def to_machine(sexp: Sexp) -> str:
    """The shortest form: a blank only between two atoms that both need no quotes."""
    # The manifest of a large copy has a hundred thousand atoms: one plain loop, no recursion.
    pieces: list[str] = []
    bare = False  # the piece before was an atom without quotes
    todo: list[Sexp | None] = [sexp]
    while todo:
        item = todo.pop()
        if item is None:
            pieces.append(")")
            bare = False
        elif isinstance(item, Written):
            pieces.append(item)
            bare = False
        elif isinstance(item, str):
            plain = _plain(item)
            pieces.append((f" {item}" if bare else item) if plain else quote(item))
            bare = plain
        else:
            pieces.append("(")
            bare = False
            todo.append(None)
            todo.extend(reversed(item))
    return "".join(pieces)


def to_human(sexp: Sexp) -> str:
    """The readable form: at most 78 columns, lists indented by one, long strings split."""
    layout = Layout()
    todo: list[Sexp | bool | None] = [sexp]
    while todo:
        item = todo.pop()
        if item is None:
            layout.text(")")
            layout.close()
        elif item is True:
            layout.blank()
        elif isinstance(item, str):
            lay_out_atom(layout, item)
        elif not item:
            layout.text("()")
        else:
            assert isinstance(item, tuple)
            layout.open("box", 1)
            layout.text("(")
            todo.append(None)
            for index, inner in enumerate(reversed(item)):
                todo.append(inner)
                if index < len(item) - 1:
                    todo.append(True)
    return layout.finish()


def lay_out_atom(layout: Layout, text: str) -> None:
    """One atom. A string of several lines is split at its newlines, one below the other."""
    if _plain(text):
        layout.text(text)
        return
    data = encode(text)
    newline = data.find(b"\n")
    if newline < 0 or newline == len(data) - 1:
        layout.text(f'"{_escape(data)}"')
        return
    layout.open("box", 0)
    layout.text(' "')  # the blank lines the first line up with the \n of the others
    first, *rest = data.split(b"\n")
    layout.text(_escape(first))
    for line in rest:
        layout.text("\\")
        layout.newline()
        layout.text("\\n")
        layout.text(_escape(line))
    layout.text('"')
    layout.close()
