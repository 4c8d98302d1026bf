"""Reading kept preimages: their machine form back into fields."""

from __future__ import annotations

import re

from obuild.sexp import Sexp, to_machine
from obuild.sexp.escapes import Malformed, unescape
from obuild.source import encode

__all__ = [
    "Fields",
    "atom",
    "join_words",
    "pairs",
    "read_fields",
    "read_machine",
    "shorten",
    "written",
]

_LONGEST = 60
"""Characters of a value that are shown."""

Fields = dict[str, Sexp]
"""A preimage by the names of its fields; what stands after a name, if it is one thing."""

_PIECE = re.compile(r'[()]|"(?:[^"\\]|\\.)*+"|[^ ()"]++')


def read_fields(text: str) -> Fields | None:
    """The fields of a preimage; of a base by its name: that name as ``image`` and ``name``.

    None for what is no preimage. Linear in the length of the text.
    """
    if not text.startswith("("):
        return {"image": text, "name": text}
    found = read_machine(text)
    fields: Fields = {}
    for field in found or ():
        if not isinstance(field, tuple) or not field or not isinstance(field[0], str):
            return None
        fields[field[0]] = field[1] if len(field) == 2 else field[1:]
    return fields or None


def read_machine(text: str) -> tuple[Sexp, ...] | None:
    """One list in the machine form, which has no comments and no blanks but between words.

    None for anything else. Much faster than the reader of specs, as it keeps no places.
    """
    opened: list[list[Sexp]] = [[]]
    for piece in _PIECE.findall(text):
        if piece == "(":
            opened.append([])
        elif piece == ")":
            inner = tuple(opened.pop())
            if not opened:
                return None
            opened[-1].append(inner)
        elif piece[0] == '"':
            try:
                opened[-1].append(unescape(encode(piece[1:-1]), 0))
            except Malformed:
                return None
        else:
            opened[-1].append(piece)
    match opened:
        case [[tuple() as only]]:
            return only
    return None


def atom(fields: Fields, name: str) -> str:
    """A field as text; empty if there is none."""
    value = fields.get(name, "")
    return value if isinstance(value, str) else to_machine(value)


def written(value: Sexp | None) -> str:
    """As text, also what is no atom."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else to_machine(value)


def pairs(value: Sexp | None) -> list[tuple[str, str]]:
    """The pairs of two atoms in a list; what else is in it is left out."""
    found = []
    for pair in value or ():
        match pair:
            case (str(name), str(text)):
                found.append((name, text))
    return found


def join_words(value: Sexp | None) -> str:
    """The atoms in a list, a blank between them."""
    return " ".join(word for word in value or () if isinstance(word, str))


def shorten(text: str) -> str:
    """A value on one line, cut where it is long."""
    if not text:
        return '""'
    line = text.replace("\n", " ")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
