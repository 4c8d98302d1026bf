"""Values: small immutable records, of which obuild has some seventy classes.

``class Point(Value)`` with the fields ``x: int`` and ``y: int = 0`` is to a type checker, and
to whoever uses it, what ``@dataclass(frozen=True, slots=True)`` makes. A dataclass compiles
seven methods when its module is loaded, 0.7 ms a class, and all of them took a third of a
build in which everything is stored. Here the methods are shared, and ``__init__`` is compiled
when the first value of its class is made.

A module with values must begin with ``from __future__ import annotations``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

__all__ = ["Value", "field", "names", "replace"]

_NO_DEFAULT: Any = object()


class _Field:
    __slots__ = ("compare", "default", "repr")

    def __init__(self, default: Any, *, compare: bool = True, repr: bool = True):
        self.default, self.compare, self.repr = default, compare, repr


def field(*, default: Any = _NO_DEFAULT, compare: bool = True, repr: bool = True) -> Any:
    """A field that is no part of the identity (``compare``), or is not shown (``repr``)."""
    return _Field(default, compare=compare, repr=repr)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _ValueType(type):
    """The type of all classes of values."""

    _fields: dict[str, _Field]
    _identity: Callable[[Any], object]
    """A value's class and the fields that are compared."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _ValueType:
        if any(isinstance(base, _ValueType) and base._fields for base in bases):
            raise TypeError(f"{name}: a class of values has no subclasses")
        fields = _take_fields(name, body)
        body["__slots__"] = body["__match_args__"] = tuple(fields)
        made = super().__new__(cls, name, bases, body)
        made._fields = fields
        compared = (key for key, its in fields.items() if its.compare)
        made._identity = attrgetter("__class__", *compared)
        return made


def _take_fields(name: str, body: dict[str, Any]) -> dict[str, _Field]:
    """The fields of a class, out of its body: a slot has no room for a class attribute."""
    fields: dict[str, _Field] = {}
    optional = False
    for key in body.get("__annotations__", ()):
        given = body.pop(key, _NO_DEFAULT)
        fields[key] = its = given if isinstance(given, _Field) else _Field(given)
        if its.default is not _NO_DEFAULT:
            optional = True
        elif optional:
            raise TypeError(f"{name}: {key} has no default, but one before it has")
    return fields


class Value(metaclass=_ValueType):
    """The base of all values. Equal are values of one class whose compared fields are equal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        cls.__init__ = _constructor(cls)  # type: ignore[method-assign]
        cls.__init__(self, *args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        identity = type(self)._identity
        return identity(self) == identity(other)

    def __hash__(self) -> int:
        return hash(type(self)._identity(self))

    def __repr__(self) -> str:
        shown = (
            f"{key}={getattr(self, key)!r}" for key, its in type(self)._fields.items() if its.repr
        )
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__}.{name} cannot be removed")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Copies and pickles are made anew from the fields."""
        return type(self), tuple(getattr(self, key) for key in names(self))


def _constructor(cls: _ValueType) -> Callable[..., None]:
    """``__init__``, with the fields in their order; it sets the slots without ``__setattr__``."""
    scope: dict[str, Any] = {}
    parameters, lines = ["self"], []
    for key, its in cls._fields.items():
        scope[f"_set_{key}"] = getattr(cls, key).__set__
        scope[f"_default_{key}"] = its.default
        parameters.append(key if its.default is _NO_DEFAULT else f"{key}=_default_{key}")
        lines.append(f" _set_{key}(self, {key})")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)
    made: Callable[..., None] = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def names(of: Value | type[Value]) -> tuple[str, ...]:
    """The names of the fields, in order."""
    return of.__match_args__


_V = TypeVar("_V", bound=Value)


def replace(value: _V, **changes: Any) -> _V:
    """The same value but for ``changes``. Raises ``TypeError`` for what is no field."""
    return type(value)(**{**{key: getattr(value, key) for key in names(value)}, **changes})
