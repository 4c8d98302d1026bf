from hypothesis import given
from hypothesis import strategies as st

from obuild.progress.output import clean
from obuild.progress.spans import Span, cells, cut, justify, paint, plain

lines = st.lists(
    st.builds(Span, st.text(max_size=30).map(clean), st.sampled_from(["", "red bold", "dim"])),
    max_size=4,
).map(tuple)


def test_a_cut_leaves_an_ellipsis() -> None:
    assert plain(cut((Span("abc"), Span("def")), 6)) == "abcdef"
    assert plain(cut((Span("abc"), Span("def")), 5)) == "abcd…"
    assert plain(cut((Span("abc"), Span("def")), 4)) == "abc…"
    assert plain(cut((Span("日本語"),), 5)) == "日本…"
    assert plain(cut((Span("日本語"),), 4)) == "日…"


def test_the_right_part_stands_at_the_margin_or_goes() -> None:
    assert plain(justify((Span("left"),), Span("right"), 20)) == "left           right"
    assert plain(justify((Span("a long left part"),), Span("right"), 20)) == "a long left p… right"
    assert plain(justify((Span("a long left part"),), Span("right"), 12)) == "a long left…"


def test_every_style_is_reset() -> None:
    assert paint((Span("a", "red bold"), Span("b"), Span("", "dim")), True) == "\x1b[31;1ma\x1b[0mb"
    assert paint((Span("a", "red bold"), Span("b")), False) == "ab"


@given(lines, st.integers(0, 40))
def test_a_cut_line_fits(line: tuple[Span, ...], width: int) -> None:
    assert cells(plain(cut(line, width))) <= width


@given(lines, st.text(max_size=10).map(clean), st.integers(0, 60))
def test_a_justified_line_fits(line: tuple[Span, ...], right: str, width: int) -> None:
    assert cells(plain(justify(line, Span(right), width))) <= width
