"""S-expressions as values, with and without places."""

from __future__ import annotations

from obuild.source import Place
from obuild.values import Value, field

__all__ = ["Atom", "List", "Node", "Sexp", "Written"]

Sexp = str | tuple["Sexp", ...]
"""An expression: an atom or a list of expressions."""


class Written(str):
    """A list that is in its machine form already: a part that is too large to be made twice.

    Only ``to_machine`` knows it.
    """

    __slots__ = ()


class Atom(Value):
    """An atom that was read. Whether it stood in quotes does not matter to its meaning."""

    text: str
    place: Place = field(compare=False, repr=False)

    def value(self) -> Sexp:
        return self.text


class List(Value):
    """A list that was read; the place is from the opening to the closing parenthesis."""

    items: tuple[Node, ...]
    place: Place = field(compare=False, repr=False)

    def value(self) -> Sexp:
        """The expression without its places. Not recursive: lists may be nested deeply."""
        done: list[list[Sexp]] = [[]]
        todo: list[Node | None] = [self]
        while todo:
            match todo.pop():
                case None:
                    inner = tuple(done.pop())
                    done[-1].append(inner)
                case Atom(text=text):
                    done[-1].append(text)
                case List(items=items):
                    done.append([])
                    todo.append(None)
                    todo.extend(reversed(items))
        return done[0][0]


Node = Atom | List
