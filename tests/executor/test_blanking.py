"""Values of secrets in output, wherever the pieces are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from obuild.executor.blanking import BLANK, Blanking


def _blanked(values: list[bytes], pieces: list[bytes]) -> bytes:
    blanking = Blanking(values)
    return b"".join([*map(blanking.feed, pieces), blanking.end()])


def test_a_value_is_blanked_across_pieces() -> None:
    pieces = [b"the code is hun", b"te", b"r2, ", b"hunter2\n"]
    assert _blanked([b"hunter2\n"], pieces) == b"the code is ***, ***"


def test_short_values_stay() -> None:
    assert _blanked([b"abc", b"abc\n"], [b"abc\n abc"]) == b"*** abc"


def test_the_lines_of_a_key_are_blanked_one_by_one() -> None:
    key = b"-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5P\n-----END KEY-----\n"
    shown = _blanked([key], [b"1: -----BEGIN KEY-----\n2: QUJDREVG", b"R0hJSktMTU5P\n"])
    assert shown == b"1: ***\n2: ***\n"


def test_the_longer_of_two_values_wins() -> None:
    assert _blanked([b"secret", b"secretary"], [b"secre", b"tary secret!"]) == b"*** ***!"


def test_what_cannot_be_a_value_is_not_held_back() -> None:
    blanking = Blanking([b"password"])
    assert blanking.feed(b"progress 10%") == b"progress 10%"
    assert blanking.feed(b"word pass") == b"word "
    assert blanking.feed(b"age") == b"passage"


ALPHABET = st.sampled_from([b"a", b"b", b"ab", b"\n", b" ", b"ba"])
VALUES = st.lists(st.lists(ALPHABET, min_size=4, max_size=7).map(b"".join), min_size=1, max_size=3)


@given(VALUES, st.lists(ALPHABET, max_size=60).map(b"".join), st.data())
def test_how_the_stream_is_cut_makes_no_difference_to_what_is_hidden(
    values: list[bytes], text: bytes, data: st.DataObject
) -> None:
    """No value that was there is still there, and nothing but values is gone."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    ends = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    shown = _blanked(values, pieces)
    long = [form for value in values for form in (value, value.strip()) if len(form) >= 4]
    assert not any(form in shown for form in long)
    if not any(form in text for form in long):
        assert shown == text
    kept = shown.split(BLANK)
    at = 0
    for part in kept:
        at = text.index(part, at) + len(part)
