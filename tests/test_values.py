"""Values are what frozen, slotted dataclasses are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.values import Value, field, names, replace


class Point(Value):
    """A place in the plane."""

    x: int
    label: str = field(repr=False)
    y: int | None = None
    note: str = field(default="", compare=False, repr=False)

    @property
    def sum(self) -> int:
        return self.x + (self.y or 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    x: int
    label: str = dataclasses.field(repr=False)
    y: int | None = None
    note: str = dataclasses.field(default="", compare=False, repr=False)


class Other(Value):
    x: int
    label: str
    y: int | None = None
    note: str = ""


class Nothing(Value):
    pass


FIELDS = st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.none() | st.just(1), st.text())


@given(FIELDS, FIELDS)
def test_equal_where_dataclasses_are(one: tuple[Any, ...], two: tuple[Any, ...]) -> None:
    assert (Point(*one) == Point(*two)) == (Model(*one) == Model(*two))
    assert repr(Point(*one)) == repr(Model(*one)).replace("Model", "Point")
    if Point(*one) == Point(*two):
        assert hash(Point(*one)) == hash(Point(*two))


def test_values_of_two_classes_differ() -> None:
    assert Point(1, "a") != Other(1, "a")
    assert len({Point(1, "a"), Other(1, "a"), Point(1, "a", note="x")}) == 2
    assert Point(1, "a") != (1, "a", None, "")
    assert Nothing() == Nothing()
    assert repr(Nothing()) == "Nothing()"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, "a", 2, "", 5), {}), ((1, "a"), {"z": 1}), ((1, "a"), {"x": 1})],
)
def test_wrong_arguments_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for _ in range(2):  # the first value of a class is made in another way
        with pytest.raises(TypeError, match=r"Point\.__init__"):
            Point(*args, **kwargs)


def test_arguments_go_by_place_or_name() -> None:
    one = Point(label="a", x=1)
    assert (one.x, one.label, one.y, one.note, one.sum) == (1, "a", None, "", 1)
    assert Point(1, "a", note="n", y=2).sum == 3


def test_a_value_cannot_be_changed() -> None:
    one = Point(1, "a")
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(one, "other", 2)  # noqa: B010
    with pytest.raises(AttributeError, match="cannot be removed"):
        del one.x
    assert not hasattr(one, "__dict__")
    assert one.x == 1


def test_replace() -> None:
    one = replace(Point(1, "a", note="n"), y=3)
    assert (one.x, one.label, one.y, one.note) == (1, "a", 3, "n")
    with pytest.raises(TypeError):
        replace(one, z=1)


def test_names_are_in_order() -> None:
    assert names(Point) == names(Point(1, "a")) == ("x", "label", "y", "note")
    assert names(Nothing) == ()


def test_copies_are_equal_to_the_last_field() -> None:
    one = Point(1, "a", note="n")
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other == one
        assert other.note == "n"


def test_patterns() -> None:
    match Point(1, "a", 2):
        case Point(x, "a", y=2):
            assert x == 1
        case _:
            pytest.fail("no match")


def test_there_are_no_subclasses() -> None:
    with pytest.raises(TypeError, match="no subclasses"):
        type("Sub", (Point,), {})


def test_a_field_without_default_cannot_follow_one_with() -> None:
    metaclass: Any = type(Value)
    with pytest.raises(TypeError, match=r"Late: y has no default"):
        metaclass("Late", (Value,), {"__annotations__": {"x": "int", "y": "int"}, "x": 0})
