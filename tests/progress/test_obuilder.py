import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from obuild.events import (
    BuildFinished,
    EngineCalled,
    Event,
    Heading,
    StageFinished,
    StageStarted,
    StepFailed,
    StepHit,
    StepOutput,
    StepSaved,
    StepStarted,
    Warned,
)
from obuild.progress.obuilder import ObuilderRenderer
from obuild.source import decode

GOLDEN = Path(__file__).parents[1] / "golden" / "keys" / "stdout.json"

# What docker's and tar's own commands print there; it is no part of OBuilder's format.
_OF_COMMANDS = re.compile(
    r"^(Using default tag: latest|Untagged: .*|obuilder-\w+-container-\w+|bell|(bell|rope)\.txt)\n"
    r"|sha256:\w+\n",
    re.MULTILINE,
)

BASE = "9d75f0d7c398df565d7ac04c6819b62d6d8f9560f5eb4672596ecd8f7e96ae91"
STROKES = "7b20dbbdb8722021e22b813671e2a5dace66eabd8d223c0c82e795b2670d1d4e"
COPY = "1a9ecb9513a2929b69b778c4b0f9c508dab57ba778b8affd57afe1c948eda121"
CAT = "e52a92bc3684fc358115ececb7348da6e833e59576fa4b712409366e9b0de00b"
DEBIAN = "3be3c43cd7ee541bb601f8131132ed025ff97406130f73774fe3ffcf6ee8b86d"
BRONZE = "4bcbcb94a9cbf9b875bf98bc31eea5b4affc6fa6b8c0801ce3df7f5ac5cbe00a"
BELL = "c232a71f28641c6b9a7f22b210b29cff49b9b66157e67d929f5be2601f3be3f9"
CODE = "ba1d8cbd7e4dc5b23fb7a0ef81cd4ec002a3fcbed0e112d82cd4771dce1af285"
TWO = "b2d6e458c16d38863953277c326e24c7484d098ebaa3d2b61d4ccf0e3d278196"
SEVEN = "2a9c17ce48561810ec62df855286773c73dc621d5b9524735a7a3bf2b4e5814a"


class Recorder:
    """Makes the events of a build, step by step."""

    def __init__(self, cached: bool):
        self.events: list[Event] = []
        self.cached = cached
        self.steps = 0

    def op(self, text: str, *within: str) -> None:
        self.events.append(Heading(within, text))

    def step(
        self, text: str, key: str, *within: str, out: bytes = b"", hit: bool | None = None
    ) -> None:
        hit = self.cached if hit is None else hit
        self.steps += 1
        self.op(text, *within)
        self.events.append(StepStarted(self.steps, within, "run", text, key))
        for at in range(0, len(out), 7):
            self.events.append(StepOutput(self.steps, out[at : at + 7], replayed=hit))
        end = StepHit if hit else StepSaved
        self.events.append(end(self.steps, key, 0.1))


def steps_and_settings(cached: bool) -> list[Event]:
    build = Recorder(cached)
    build.step("(from busybox)", BASE)
    build.op('/: (comment "the bell ringer\'s day")')
    build.op("/: (shell /bin/sh -c)")
    build.op("/: (workdir /belfry)")
    build.op("/belfry: (env HOURS 12)")
    build.op("/belfry: (user (uid 0) (gid 0))")
    build.step('/belfry: (run (shell "echo $HOURS strokes"))', STROKES, out=b"12 strokes\n")
    build.step("/belfry: (copy (src bell.txt rope.txt) (dst /))", COPY)
    build.step(
        "/belfry: (run (cache (wax (target /wax)))\n"
        "              (network host)\n"
        '              (shell  "cat /bell.txt /rope.txt\\\n'
        '                     \\necho done"))',
        CAT,
        out=b"ding\nhemp\ndone\n",
    )
    return [*build.events, BuildFinished(CAT, 1.0)]


def nested_and_secret(cached: bool) -> list[Event]:
    build = Recorder(cached)
    build.events.append(StageStarted(("caster",)))
    build.step("(from debian:12)", DEBIAN, "caster")
    run = "/: (run (shell \"printf 'bronze\\\\n' > /bell; cat /bell\"))"
    build.step(run, BRONZE, "caster", out=b"bronze\n")
    build.events.append(StageFinished(("caster",)))
    build.step("(from debian:12)", DEBIAN, hit=True)
    build.step(
        "/: (copy (from (build caster))\n"
        "         (src bell)\n"
        "         (dst /bell)\n"
        "         (exclude a-rather-long-name-so-that-the-line-breaks))",
        BELL,
    )
    build.op("/: (shell /bin/sh -c)")
    build.step(
        "/: (run (secrets (code (target /run/code)))\n"
        "        (shell \"cat /bell /run/code; printf 'no newline at end'\"))",
        CODE,
        out=b"bronze\n4711\nno newline at end",
    )
    return [*build.events, BuildFinished(CODE, 1.0)]


def failing_step(cached: bool) -> list[Event]:
    build = Recorder(cached)
    build.step("(from busybox)", BASE)
    build.op("/: (shell /bin/sh -c)")
    run = '/: (run (shell "echo to stdout; echo to stderr >&2"))'
    build.step(run, TWO, out=b"to stdout\nto stderr\n")
    build.op('/: (run (shell "echo about to fail; exit 7"))')
    build.events += [
        StepStarted(3, (), "run", "(run …)", SEVEN),
        StepOutput(3, b"about to fail\n"),
        StepFailed(3, SEVEN, 0.1, "exit 7", 7),
        BuildFinished(None, 1.0),
    ]
    return build.events


def show(events: list[Event]) -> str:
    out = io.BytesIO()
    renderer = ObuilderRenderer(out)
    for event in events:
        renderer(event)
    renderer.close()
    return decode(out.getvalue())


def golden(case: str, run: str) -> str:
    found: dict[str, Any] = next(
        c for c in json.loads(GOLDEN.read_text())["cases"] if c["name"] == case
    )
    return _OF_COMMANDS.sub("", found[run]["stdout"])


@pytest.mark.parametrize("run", ["first_run", "second_run"])
@pytest.mark.parametrize("build", [steps_and_settings, nested_and_secret, failing_step])
def test_the_lines_are_obuilders(build: Any, run: str) -> None:
    expected = golden(build.__name__.replace("_", "-"), run)
    assert show(build(run == "second_run")) == expected


def test_other_events_say_nothing() -> None:
    assert show([Warned("w"), EngineCalled(("docker", "ps")), BuildFinished(None, 1.0)]) == ""


def test_output_is_passed_on_as_it_is() -> None:
    data = bytes(range(256)) + b"\x1b[2J"
    out = io.BytesIO()
    renderer = ObuilderRenderer(out)
    renderer(StepOutput(1, data))
    renderer.close()
    assert out.getvalue() == data


def test_a_name_is_quoted_as_ocaml_does() -> None:
    assert show([StageStarted(('b"\n\xe9',))]) == '(build "b\\"\\n\\195\\169" …)\n'


def stage(name: str, *within: str) -> list[Event]:
    path = (*within, name)
    step = sum(map(ord, name))
    return [
        StageStarted(path),
        Heading(path, f"(from {name})"),
        StepStarted(step, path, "base", "", name),
        StepOutput(step, f"{name}-output\n".encode()),
        StepSaved(step, name, 0.1),
        StageFinished(path),
    ]


def test_builds_side_by_side_are_written_one_after_the_other() -> None:
    a, b, inner = stage("a"), stage("b"), stage("i", "b")
    b = [b[0], *inner, *b[1:]]
    outer: list[Event] = [Heading((), "(from outer)"), BuildFinished("k", 1.0)]
    mixed = [a[0], b[0], *inner[:3], a[1], *inner[3:], a[2], *b[7:], *a[3:], *outer]
    assert show(mixed) == show([*a, *b, *outer])
    lines = show(mixed).splitlines()
    assert lines[4:7] == ['--> finished "a"', '(build "b" …)', '(build "i" …)']


def test_what_is_kept_may_be_large() -> None:
    big = [StepOutput(ord("b"), b"x" * 65535 + b"\n")] * 40
    a, b = stage("a"), stage("b")
    text = show([a[0], *b[:3], *big, *b[4:], *a[1:]])
    assert text.index('finished "a"') < text.index("xxx")
    assert text.count("x") == 40 * 65535


def test_a_failure_shows_what_the_builds_beside_it_wrote() -> None:
    a, b = stage("a"), stage("b")
    lines = show([*a[:3], *b[:4], BuildFinished(None, 1.0)]).splitlines()
    assert lines == ['(build "a" …)', "(from a)", '(build "b" …)', "(from b)", "b-output"]


def test_the_first_in_the_text_is_said_to_have_saved_what_another_did() -> None:
    """As OBuilder would have: it builds one thing after the other."""
    stream = io.BytesIO()
    renderer = ObuilderRenderer(stream)
    for event in (
        StageStarted(("a",)),
        StepStarted(1, (), "base", "(from x)", "k"),
        StepSaved(1, "k", 0.0),
        StepStarted(2, ("a",), "base", "(from x)", "k"),
        StepHit(2, "k", 0.0),
        StageFinished(("a",)),
        StepStarted(3, (), "run", "r", "other"),
        StepHit(3, "other", 0.0),
        BuildFinished("k", 0.0),
    ):
        renderer(event)
    renderer.close()
    assert stream.getvalue().decode().splitlines() == [
        '(build "a" …)',
        '---> saved as "k"',
        '--> finished "a"',
        '---> using "k" from cache',
        '---> using "other" from cache',
        'Got: "k"',
    ]
