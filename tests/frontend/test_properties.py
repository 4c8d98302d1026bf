"""Builds of all shapes: what is printed reads back as the same value."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from obuild.frontend.obuilder import read_spec
from obuild.ir.ops import (
    Base,
    Build,
    Cache,
    Comment,
    Copy,
    Env,
    NamedUser,
    Op,
    Run,
    Secret,
    Shell,
    Stage,
    UnixUser,
    UserOp,
    Workdir,
)
from obuild.ir.printing import build_sexp, one_line, pretty
from obuild.sexp import to_human, to_machine
from obuild.source import Text, decode, encode

WORDS = st.one_of(
    st.text(alphabet='abz/.-_ \n"\\;#|()é', max_size=12), st.binary(max_size=6).map(decode)
)
WORD_LISTS = st.lists(WORDS, max_size=3).map(tuple)
OPTIONS = st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple)
NUMBERS = st.integers(-(2**62), 2**62 - 1)


def _op(builds: list[str]) -> st.SearchStrategy[Op]:
    sources = st.none() if not builds else st.one_of(st.none(), st.sampled_from(builds))
    return st.one_of(
        st.builds(Comment, WORDS),
        st.builds(Workdir, WORDS),
        st.builds(Shell, WORD_LISTS),
        st.builds(Env, WORDS, WORDS),
        st.builds(UserOp, st.builds(UnixUser, NUMBERS, NUMBERS)),
        st.builds(UserOp, st.builds(NamedUser, WORDS)),
        st.builds(
            Run,
            WORDS,
            st.lists(st.builds(Cache, WORDS, WORDS, OPTIONS), max_size=2).map(tuple),
            WORD_LISTS,
            st.lists(st.builds(Secret, WORDS, WORDS, OPTIONS), max_size=2).map(tuple),
        ),
        st.builds(Copy, WORD_LISTS, WORDS, WORD_LISTS, sources),
    )


@st.composite
def stages(draw: st.DrawFn, depth: int = 2) -> Stage:
    names = draw(st.lists(WORDS, max_size=2, unique=True)) if depth else []
    nested = tuple((name, draw(stages(depth - 1))) for name in names)
    ops = tuple(draw(st.lists(_op(names), max_size=5)))
    platform = draw(st.none() | WORDS)
    return Stage(Base(draw(WORDS), platform, draw(st.booleans())), ops, nested)


@settings(max_examples=200, deadline=None)
@given(stages())
def test_every_printed_form_reads_back(stage: Stage) -> None:
    build = Build(stage)
    for text in (pretty(build), to_machine(build_sexp(build)), to_human(build_sexp(build))):
        assert read_spec(Text("x", encode(text) + b"\n")) == build


@given(_op([]))
def test_a_title_is_one_line(op: Op) -> None:
    assert "\n" not in one_line(op)
