"""What is valid in a spec, but hardly what was meant."""

from __future__ import annotations

import pytest

from obuild.frontend.obuilder import read_spec
from obuild.frontend.obuilder.doubts import doubts
from obuild.source import Text


def found(spec: str) -> list[str]:
    return [doubt.message for doubt in doubts(read_spec(Text("x", spec.encode())))]


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        ("(copy (src) (dst /x))", "no sources"),
        ("(copy (src a b) (dst /x))", "cannot all become"),
        ("(copy (src a/../b) (dst /x))", "leads out"),
        ("(copy (src a) (dst /x) (exclude *.o))", "exactly this name"),
        ("(copy (src a) (dst /x) (exclude a/b))", "exactly this name"),
        ('(env "A=B" c)', "no program can have"),
        ("(user (name keeper))", "for Windows guests"),
        ("(run (network a b) (shell x))", "one network only"),
        ("(run (cache (c (target rel))) (shell x))", "no absolute path"),
        ("(run (secrets (s (target rel))) (shell x))", "no absolute path"),
    ],
)
def test_doubtful_ops(ops: str, words: str) -> None:
    messages = found(f"((from a) {ops})")
    assert len(messages) == 1
    assert words in messages[0]


def test_clean_specs_have_no_doubts() -> None:
    assert found("((build b ((from a))) (from a) (copy (from (build b)) (src x) (dst /x)))") == []
    assert found('((from a) (run (cache (c (target "C:/c"))) (network host) (shell x)))') == []


def test_a_build_that_nothing_is_copied_from() -> None:
    messages = found("((build idle ((from a))) (from a))")
    assert messages == ['nothing is copied from the build "idle", but it runs']
    used_by_sibling = """((build one ((from a)))
      (build two ((from a) (copy (from (build one)) (src x) (dst /x))))
      (from a) (copy (from (build two)) (src x) (dst /x)))"""
    assert found(used_by_sibling) == []
