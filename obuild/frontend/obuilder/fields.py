"""Shapes that ops share: records of named fields, atoms, numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from obuild.errors import ScriptError, nearest
from obuild.sexp import Atom, List, Node
from obuild.source import Place
from obuild.values import Value

__all__ = ["Fields", "atom", "integer", "pairs", "refuse"]

T = TypeVar("T")

_INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F][0-9a-fA-F_]*)|0[oO](?P<oct>[0-7][0-7_]*)"
    r"|0[bB](?P<bin>[01][01_]*)|0[uU](?P<unsigned>[0-9][0-9_]*)|(?P<decimal>[0-9][0-9_]*))"
)


def refuse(place: Place, message: str, hint: str | None = None) -> ScriptError:
    """The error for what stands at ``place``; to be raised by the caller."""
    return ScriptError(message, place=place, hint=hint)


def atom(node: Node, what: str) -> str:
    """The text of an atom; a list is refused as no ``what``."""
    if isinstance(node, Atom):
        return node.text
    raise refuse(node.place, f"{what} must be one word or quoted text, not a list")


def integer(node: Node, what: str) -> int:
    """A number as OCaml's ``int_of_string`` reads it: 63 bits, 0x 0o 0b 0u, underscores."""
    text = atom(node, what)
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise refuse(node.place, f"{what} must be a whole number, not {text!r}")
    kind = match.lastgroup or ""
    base = {"hex": 16, "oct": 8, "bin": 2}.get(kind, 10)
    value = int(match[kind].replace("_", ""), base)
    limit = 2**62 if kind == "decimal" else 2**63
    negative = match["sign"] == "-"
    if value > limit or (value == limit and not (negative and kind == "decimal")):
        raise refuse(node.place, f"{what} is too large: {text}")
    if kind != "decimal" and value >= 2**62:
        value -= 2**63  # these forms may set the highest bit
    return -value if negative else value


def pairs(node: Node, what: str) -> tuple[tuple[str, str], ...]:
    """``((NAME VALUE) …)``."""
    if isinstance(node, Atom):
        raise refuse(node.place, f"{what} must be a list of (NAME VALUE) pairs")
    found = []
    for item in node.items:
        if isinstance(item, Atom) or len(item.items) != 2:
            raise refuse(item.place, f"{what} are pairs: (NAME VALUE)")
        name, value = (atom(part, "each half of an option") for part in item.items)
        found.append((name, value))
    return tuple(found)


class Fields(Value):
    """The fields of a record, each at most once: ``(NAME ARGUMENT…)``."""

    owner: str
    place: Place
    found: dict[str, List]

    @classmethod
    def read(cls, owner: str, place: Place, nodes: Iterable[Node], known: list[str]) -> Fields:
        """Sort the fields of ``owner`` by name; refuses other names and repetitions."""
        found: dict[str, List] = {}
        for node in nodes:
            name = cls._name(owner, node, known)
            assert isinstance(node, List)
            if name not in known:
                near = nearest(name, known)
                raise refuse(
                    node.place,
                    f"{owner} has no field {name}",
                    f"did you mean {near}?" if near else f"its fields: {', '.join(known)}",
                )
            if name in found:
                raise refuse(node.place, f"{owner} has the field {name} twice")
            found[name] = node
        return cls(owner, place, found)

    @staticmethod
    def _name(owner: str, node: Node, known: list[str]) -> str:
        if isinstance(node, List) and node.items and isinstance(node.items[0], Atom):
            return node.items[0].text
        example = f"({known[-1]} …)"
        raise refuse(node.place, f"{owner} takes fields like {example} here")

    def one(self, name: str, read: Callable[[Node], T]) -> T:
        """The one argument of a field that must be there."""
        node = self.found.get(name)
        if node is None:
            raise refuse(self.place, f"{self.owner} needs a ({name} …)")
        if len(node.items) != 2:
            raise refuse(node.place, f"({name} …) takes exactly one argument")
        return read(node.items[1])

    def optional(self, name: str, read: Callable[[Node], T], default: T) -> T:
        return self.one(name, read) if name in self.found else default

    def each(self, name: str, read: Callable[[Node], T], *, needed: bool = False) -> tuple[T, ...]:
        """All arguments of a field, in order; none if it is not there."""
        if name not in self.found:
            if needed:
                raise refuse(self.place, f"{self.owner} needs a ({name} …)")
            return ()
        return tuple(read(node) for node in self.found[name].items[1:])
