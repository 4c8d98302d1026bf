"""S-expressions: the text form of specs, manifests and the preimages of keys.

The format is that of OCaml's sexplib, to the byte in what is printed, since keys are hashes
of printed expressions. An expression as a value is a string or a tuple of expressions; an
expression that was read has places besides (``Atom`` and ``List``). Strings hold arbitrary
bytes by the rule of ``obuild.source.decode``.
"""

from obuild.sexp.value import Atom, List, Node, Sexp
from obuild.sexp.write import quote, to_human, to_machine, write_atom
from obuild.source import Text

__all__ = [
    "Atom",
    "List",
    "Node",
    "Sexp",
    "quote",
    "read_many",
    "read_one",
    "to_human",
    "to_machine",
    "write_atom",
]


def read_many(text: Text) -> tuple[Node, ...]:
    """All expressions of a text, in order. Raises ``ScriptError`` with the place."""
    # The reader loads lark, which costs as much as the rest of a cached run: only on use.
    from obuild.sexp import read

    return read.read_many(text)


def read_one(text: Text) -> Node:
    """The only expression of a text. Raises ``ScriptError`` for none, or more than one."""
    from obuild.sexp import read

    return read.read_one(text)
