"""Reading S-expressions, with a place for every part and for every error.

The grammar is ``grammar/sexp.lark``; what it cannot say is here, and in ``escapes``: marks of
comments inside a word.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from obuild import resources
from obuild.errors import ScriptError
from obuild.sexp.escapes import Malformed, unescape
from obuild.sexp.value import Atom, List, Node
from obuild.source import Place, Text, decode

__all__ = ["read_many", "read_one"]

_WORD = re.compile(rb"(?:[^ \t\n\f\r()\";#|]|#(?!\|)|\|(?!#))+(?=#\||\|#)")
_UNFINISHED: dict[str | None, str] = {
    "LPAR": "this ( is never closed",
    "BLOCK_OPEN": "this comment is never closed: |# is missing",
    "DATUM": "#; hides the next expression, but there is none",
}


def read_many(text: Text) -> tuple[Node, ...]:
    """All expressions of a text, in order. Raises ``ScriptError`` with the place."""
    return tuple(shape(text) for shape in _parse(text) if shape.content is not None)


def _parse(text: Text) -> list[_Shape]:
    try:
        shapes: list[_Shape] = _parser().parse(text.data.decode("latin-1"))  # type: ignore[assignment]
        return shapes
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, Malformed):
            raise _bad_escape(text, error.orig_exc) from None
        raise
    except Malformed as error:
        raise _bad_escape(text, error) from None


def _bad_escape(text: Text, error: Malformed) -> ScriptError:
    return ScriptError(str(error), place=Place(text, error.start, error.end))


def read_one(text: Text) -> Node:
    """The only expression of a text. Raises ``ScriptError`` for none, or more than one."""
    shapes = _parse(text)
    nodes = [shape(text) for shape in shapes if shape.content is not None]
    if not nodes:
        end = len(text.data)
        raise ScriptError(
            "nothing to read: the file has no S-expression",
            place=Place(text, end, end),
            hint='a spec looks like: ((from debian:12) (run (shell "make")))',
        )
    if len(nodes) > 1:
        raise ScriptError(
            "more than one S-expression in the file",
            place=nodes[1].place,
            hint="is a parenthesis closed too early above this?",
        )
    last = shapes[-1]
    if last.content is None and last.end == len(text.data):
        # sexplib waits for what may follow the word, and so OBuilder refuses the file.
        raise ScriptError(
            "the file ends within an expression that #; hides",
            place=Place(text, last.start, last.end),
            hint="end the last line with a newline",
        )
    return nodes[0]


class _Shapes(Transformer[Token, Any]):
    """Turns matched shapes into nodes at once, so that no tree is walked afterwards.

    The parser is shared by all texts, so each node is made by a function of its text.
    """

    def __init__(self) -> None:
        super().__init__(visit_tokens=False)

    def start(self, items: list[Any]) -> list[_Shape]:
        return _kept(items)

    def atom(self, items: list[Token]) -> _Shape:
        token = items[0]
        return _Shape(_atom_text(token), *_range(token))

    def string(self, items: list[Token]) -> _Shape:
        token = items[0]
        return _Shape(_unescape(token), *_range(token), quoted=True)

    def group(self, items: list[Any]) -> _Shape:
        first, *inner, last = items
        nodes = [shape for shape in _kept(inner) if shape.content is not None]
        return _Shape(nodes, _range(first)[0], _range(last)[1])

    def datum_comment(self, items: list[Any]) -> _Shape | None:
        """Only a hidden atom is kept, for the check that the file does not end in it."""
        hidden = items[-1]
        if not isinstance(hidden.content, str) or hidden.quoted:
            return None
        return _Shape(None, hidden.start, hidden.end)

    def block_comment(self, _: list[Any]) -> None:
        return None

    nested_comment = block_comment


class _Shape:
    """A node before its text is known. No content: a hidden atom, which is no node."""

    __slots__ = ("content", "end", "quoted", "start")

    def __init__(self, content: Any, start: int, end: int, *, quoted: bool = False):
        self.content, self.start, self.end, self.quoted = content, start, end, quoted

    def __call__(self, text: Text) -> Node:
        # Not recursive: post-order over an explicit stack.
        done: list[list[Node]] = [[]]
        todo: list[tuple[_Shape, bool]] = [(self, False)]
        while todo:
            shape, finished = todo.pop()
            place = Place(text, shape.start, shape.end)
            if isinstance(shape.content, str):
                done[-1].append(Atom(shape.content, place))
            elif finished:
                inner = tuple(done.pop())
                done[-1].append(List(inner, place))
            else:
                done.append([])
                todo.append((shape, True))
                todo.extend((s, False) for s in reversed(shape.content))
        return done[0][0]


def _kept(items: list[Any]) -> list[_Shape]:
    return [item for item in items if isinstance(item, _Shape)]


def _range(token: Token) -> tuple[int, int]:
    start, end = token.start_pos, token.end_pos
    assert start is not None
    assert end is not None
    return start, end


def _atom_text(token: Token) -> str:
    return decode(token.encode("latin-1"))


def _unescape(token: Token) -> str:
    return unescape(token.encode("latin-1")[1:-1], _range(token)[0] + 1)


@cache
def _parser() -> Lark:
    grammar = resources.read("grammar", "sexp.lark").decode()
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_Shapes())


def _syntax_error(text: Text, error: UnexpectedInput) -> ScriptError:
    at = len(text.data)
    if not (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        at = error.pos_in_stream  # type: ignore[assignment]
    opened = _innermost_open(error)
    start, end, message = _explain(text.data, at, opened.type if opened is not None else None)
    if at == len(text.data) and opened is not None:
        start, end = _range(opened)
    return ScriptError(message, place=Place(text, start, end))


def _explain(data: bytes, at: int, opened: str | None) -> tuple[int, int, str]:
    """Start, end and message for text that cannot go on at ``at``."""
    two = data[at : at + 2]
    word = _WORD.match(data, at)
    if at == len(data):
        return at, at, _UNFINISHED.get(opened, "the file ends too early")
    if two == b"|#":
        return at, at + 2, "|# ends no comment: none is open here"
    if word:
        mark = word.end()
        return mark, mark + 2, "a comment mark inside a word: put a blank before it"
    if two[:1] == b'"':
        return at, at + 1, "this string is never closed"
    if two[:1] == b"\r":
        return at, at + 1, "a carriage return without a newline after it"
    if two[:1] == b")" and opened == "DATUM":
        return at, at + 1, "#; hides the next expression, but there is none before this )"
    return at, at + 1, "this ) closes nothing"


def _innermost_open(error: UnexpectedInput) -> Token | None:
    """The token that opened what the parser was inside of when it stopped."""
    parser = getattr(error, "interactive_parser", None)
    if parser is None:
        return None
    for value in reversed(parser.parser_state.value_stack):
        if isinstance(value, Token) and value.type in _UNFINISHED:
            return value
    return None
