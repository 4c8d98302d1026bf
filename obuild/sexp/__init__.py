"""S-expressions: the text form of specs, manifests and the preimages of keys.

The format is that of OCaml's sexplib, to the byte in what is printed, since keys are hashes
of printed expressions. An expression as a value is a string or a tuple of expressions; an
expression that was read has places besides (``Atom`` and ``List``). Strings hold arbitrary
bytes by the rule of ``obuild.source.decode``.

The language is what ``grammar/sexp.lark`` and ``read`` say. ``plain`` reads the most of it,
all that specs usually have, without them, since loading lark takes longer than all the rest
of a build in which everything is stored; the tests hold it equal to the grammar.
"""

from obuild.sexp.plain import read_plain
from obuild.sexp.value import Atom, List, Node, Sexp, Written
from obuild.sexp.write import quote, to_human, to_machine, write_atom
from obuild.source import Text

__all__ = [
    "Atom",
    "List",
    "Node",
    "Sexp",
    "Written",
    "quote",
    "read_many",
    "read_one",
    "to_human",
    "to_machine",
    "write_atom",
]


def read_many(text: Text) -> tuple[Node, ...]:
    """All expressions of a text, in order. Raises ``ScriptError`` with the place."""
    nodes = read_plain(text)
    if nodes is None:
        from obuild.sexp import read  # loads lark

        return read.read_many(text)
    return nodes


def read_one(text: Text) -> Node:
    """The only expression of a text. Raises ``ScriptError`` for none, or more than one."""
    nodes = read_plain(text)
    if nodes is None or len(nodes) != 1:
        from obuild.sexp import read  # loads lark, and says what is wrong

        return read.read_one(text)
    return nodes[0]
