"""What changed between two preimages, in words."""

from __future__ import annotations

import base64
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.context import BuildContext
from obuild.executor.inputs import Inputs, Options
from obuild.executor.plan import plan
from obuild.frontend.obuilder import read_spec
from obuild.ir.manifest import Dir, File, Manifest, Symlink
from obuild.ir.ops import Base, NamedUser, UnixUser, User
from obuild.ir.steps import CopyStep, RunStep, StepSecret
from obuild.keys import base_preimage, copy_preimage, kept, run_preimage
from obuild.keys.difference import PARENT, differences
from obuild.keys.reading import read_fields, read_machine
from obuild.platforms import LINUX
from obuild.sexp import Sexp, to_machine
from obuild.source import Text
from obuild.values import replace
from tests.vectors import cases, plant

ROOT = UnixUser(0, 0)
RUN = RunStep("/", ROOT, (), "make", ("/bin/sh", "-c"), ("none",))
ONE, TWO = "1" * 64, "2" * 64


def run(parent: str = "p", **changes: Any) -> str:
    step = replace(RUN, **changes)
    return kept(run_preimage(parent, step), step.secrets, b"the store's own")


def copy(
    *files: Manifest,
    dst: str = "/app/",
    runnable: tuple[str, ...] = (),
    user: User = ROOT,
    parent: str = "p",
) -> str:
    step = CopyStep((), dst, (), user)
    return kept(copy_preimage(parent, step, files, runnable), (), b"")


def base(image: str, identity: str | None = None, platform: str | None = None) -> str:
    written = Base(image, platform, resolve=identity is not None)
    return kept(base_preimage(written, identity), (), b"")


def env(**variables: str) -> str:
    return run(env=tuple(reversed(variables.items())))


def secret(value: bytes, target: str = "/run/secrets/token") -> StepSecret:
    return StepSecret("key", target, value)


def src(*items: Manifest) -> Dir:
    return Dir("src", items)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (env(HOURS="12"), env(HOURS="13"), ["env HOURS: 12 → 13"]),
        (env(A="1", B="2"), env(B="2", C=""), ['env C: added, ""', "env A: removed"]),
        (env(A="1", B="2"), env(B="2", A="1"), ["env: another order"]),
        (run(cmd="make -j2 all"), run(cmd="make -j4 all"), ["command: make -j2 → make -j4"]),
        (run(cmd="make"), run(cmd="make test"), ["command: make → make test"]),
        (run(cmd="make"), run(cmd="nice make"), ["command: make → nice make"]),
        (run(cmd="a a"), run(cmd="a a a"), ["command: a → a a"]),
        (run(cmd="a  b\n"), run(cmd="a b"), ["command: only its blanks"]),
        (run(cmd="x"), run(cmd="y " * 99), ["command: x → " + ("y " * 99)[:59] + "…"]),
        (run(workdir="/a"), run(workdir="/b"), ["workdir: /a → /b"]),
        (run(), run(user=NamedUser("joe")), ["user: 0:0 → joe"]),
        (run(), run(shell=("bash", "-ec")), ["shell: /bin/sh -c → bash -ec"]),
        (run(), run(network=("host",)), ["network: none → host"]),
        (run(network=()), run(), ["network: not named → none"]),
        (run(), run(secrets=(secret(b"1"),)), ["secret token: added"]),
        (run(secrets=(secret(b"1"),)), run(), ["secret token: removed"]),
        (
            run(secrets=(secret(b"1"), secret(b"1", "/etc/x"))),
            run(secrets=(secret(b"1"), secret(b"2", "/etc/x"))),
            ["secret at /etc/x: another value"],
        ),
        (
            run(secrets=(secret(b"1"), secret(b"1", "/etc/x"))),
            run(secrets=(secret(b"1", "/etc/x"), secret(b"1"))),
            ["the order of the secrets"],
        ),
        (run("p"), run("q"), [PARENT]),
        (run("p"), run("q", cmd="nice"), ["command: make → nice", PARENT]),
        (copy(src(File("src/a", ONE))), copy(src(File("src/a", TWO))), ["src/a: content"]),
        (
            copy(src(File("src/a", ONE)), runnable=("src/a",)),
            copy(src(File("src/a", TWO))),
            ["src/a: content, no longer executable"],
        ),
        (
            copy(File("run.sh", ONE)),
            copy(File("run.sh", ONE), runnable=("run.sh",)),
            ["run.sh: now executable"],
        ),
        (
            copy(src(File("src/a", ONE), File("src/b", ONE))),
            copy(src(File("src/a", ONE), Symlink("src/c", "a"))),
            ["src/b: removed", "src/c: link added"],
        ),
        (
            copy(src(File("src/a", ONE), Symlink("src/l", "x"), Dir("src/d", ()))),
            copy(src(Symlink("src/a", "d"), Symlink("src/l", "y"), File("src/d", ONE))),
            [
                "src/a: now a link to d, was a file",
                "src/d: now a file, was a folder",
                "src/l: link target x → y",
            ],
        ),
        (
            copy(src()),
            copy(src(Dir("src/d", (Dir("src/d/e", (File("src/d/e/f", ONE),)),)), Dir("src/e", ()))),
            ["src/d: folder added with 1 file", "src/e: empty folder added"],
        ),
        (
            copy(Dir("", (Dir("d", (File("d/f", ONE), File("d/g", ONE))), File("d.x", ONE)))),
            copy(Dir("", (File("d.x", TWO),))),
            ["d: folder removed with 2 files", "d.x: content"],
        ),
        (
            copy(File("a", ONE), File("b", ONE)),
            copy(File("b", ONE), File("a", ONE)),
            ["the order of the sources"],
        ),
        (copy(File("a", ONE)), copy(File("a", ONE), File("a", ONE)), ["sources: a → a, a"]),
        (
            copy(File("a", ONE), dst="/a"),
            copy(File("a", ONE), dst="/b/", user=UnixUser(1, 2)),
            ["destination: /a → /b/", "user: 0:0 → 1:2"],
        ),
        (base("busybox"), base("debian:12"), ["base: busybox → debian:12"]),
        (
            base("b", f"sha256:{ONE}"),
            base("b", f"sha256:{TWO}"),
            ["base: b was rebuilt, sha256:111111111111… → sha256:222222222222…"],
        ),
        (
            base(f"b@sha256:{ONE}"),
            base(f"b@sha256:{TWO}"),
            ["base: the pinned digest of b moved, sha256:111111111111… → sha256:222222222222…"],
        ),
        (
            base("b"),
            base(f"b@sha256:{TWO}"),
            ["base: b counts by its digest now, sha256:222222222222…"],
        ),
        (
            base(f"b@sha256:{TWO}"),
            base("b"),
            ["base: b counts by its name now, and not by its digest"],
        ),
        (
            base("b", platform="linux/arm64"),
            base("b"),
            ["platform: linux/arm64 → not asked for"],
        ),
        (run(), copy(src()), ["it is a copy now, and was a run"]),
        ("(", "((", ["what was recorded of it cannot be read"]),
    ],
)
def test_words(old: str, new: str, words: list[str]) -> None:
    assert list(differences(old, new)) == words


def test_a_field_of_a_later_version_is_named() -> None:
    old = to_machine((*run_preimage("p", RUN), ("hostname", "a")))
    assert differences(old, run()) == ("hostname: a → none",)


def test_a_secret_by_its_id() -> None:
    target = "/run/secrets/token"
    old, new = run(secrets=(secret(b"1"),)), run(secrets=(secret(b"2"),))
    assert differences(old, new, secrets={target: "key"}) == ("secret key: another value",)


def test_bits_that_are_not_in_the_key() -> None:
    """A copy with OBuilder's key names no x bits; that it had some is in its record."""
    old, new = copy(src(File("src/a", ONE))), copy(src(File("src/a", ONE)), runnable=("src/a",))
    bits = ("src/a",)
    assert differences(old, new, executables=(bits, bits)) == (
        "executable bits: now part of the key",
    )
    assert differences(new, old, executables=(bits, bits)) == (
        "executable bits: no longer part of the key",
    )
    assert differences(old, new, executables=((), bits)) == ("src/a: now executable",)


def _tree(count: int, digest: str) -> Dir:
    return src(
        *(
            Dir(f"src/{i}", tuple(File(f"src/{i}/{j:02}", digest) for j in range(100)))
            for i in range(count // 100)
        )
    )


def test_many_files_are_cut() -> None:
    found = differences(copy(_tree(4700, ONE)), copy(_tree(4700, TWO)))
    assert found[:2] == ("src/0/00: content", "src/0/01: content")
    assert found[10:] == ("and 4690 more files",)
    found = differences(copy(_tree(11, ONE)), copy(*(File(f"{i}", ONE) for i in range(10))))
    assert found[-1] == "and 1 more file"


def test_time_is_linear() -> None:
    def seconds(count: int) -> float:
        old, new = copy(_tree(count, ONE)), copy(_tree(count, TWO))
        began = time.process_time()
        differences(old, new)
        return time.process_time() - began

    seconds(100)
    few, many = min(seconds(2_000) for _ in range(3)), min(seconds(20_000) for _ in range(2))
    assert many < 30 * few


def test_trees_deeper_than_the_stack() -> None:
    def deep(digest: str) -> Manifest:
        path = "/".join("d" * 3000)
        tree: Manifest = File(f"{path}/f", digest)
        while path:
            tree = Dir(path, (tree,))
            path = path.rpartition("/")[0]
        return tree

    assert len(differences(copy(deep(ONE)), copy(deep(TWO)))) == 1


@pytest.mark.parametrize("case", cases("keys/keys.json"), ids=lambda case: case["name"])
def test_preimages_of_the_reference(case: dict[str, Any], tmp_path: Path) -> None:
    """golden: ``keys/keys.json``. Every preimage is read back whole, is no other than itself
    and is other than the next."""
    plant(tmp_path / "context", case["context"])
    secrets = {s["id"]: base64.b64decode(s["value_b64"]) for s in case["secrets"]}
    context = BuildContext(str(tmp_path / "context"))
    inputs = Inputs(lambda: context, secrets, Options(obuilder_keys=True))
    steps = plan(read_spec(Text("x.spec", case["spec"].encode())), inputs, LINUX).steps
    texts = [kept(step.prepared.preimage, (), b"") for step in steps if step.prepared]
    for text in texts:
        assert differences(text, text) == ()
        if text.startswith("("):
            assert to_machine(read_machine(text) or ()) == text
    for old, new in pairwise(texts):
        assert differences(old, new) if old != new else not differences(old, new)


_BYTES = st.binary(max_size=6).map(lambda data: data.decode("utf-8", "surrogateescape"))
_SEXPS: st.SearchStrategy[Sexp] = st.recursive(_BYTES, lambda inner: st.lists(inner).map(tuple))


@given(st.lists(_SEXPS).map(tuple))
def test_the_machine_form_reads_back(sexp: tuple[Sexp, ...]) -> None:
    assert read_machine(to_machine(sexp)) == sexp


@given(st.text(max_size=30))
def test_what_is_no_preimage_is_refused_or_read(text: str) -> None:
    read_fields(text)
    differences(text, run())
    differences(run(), text)


_PAIRS = st.lists(st.tuples(_BYTES, _BYTES), max_size=3, unique_by=lambda p: p[0]).map(tuple)
_WORDS = st.lists(_BYTES, max_size=3).map(tuple)
_SECRETS = st.lists(
    st.builds(StepSecret, _BYTES, _BYTES, st.binary(max_size=3).map(lambda b: b"<secret>" + b)),
    max_size=3,
    unique_by=lambda secret: secret.target,
).map(tuple)
_USERS = st.builds(UnixUser, st.integers(0, 9), st.integers(0, 9)) | st.builds(NamedUser, _BYTES)
_RUNS = st.builds(RunStep, _BYTES, _USERS, _PAIRS, _BYTES, _WORDS, _WORDS, _SECRETS).flatmap(
    lambda step: st.sampled_from("pq").map(lambda parent: (parent, step))
)


@given(_RUNS, _RUNS)
def test_runs(old: tuple[str, RunStep], new: tuple[str, RunStep]) -> None:
    """Different preimages have a difference, and no word of it is from a secret."""
    texts = [kept(run_preimage(*one), one[1].secrets, b"own") for one in (old, new)]
    assert differences(texts[0], texts[0]) == ()
    found = differences(texts[0], texts[1])
    assert bool(found) == (texts[0] != texts[1])
    assert not any("<secret>" in reason or "hmac" in reason for reason in found)
    assert all("\n" not in reason for reason in found)


@st.composite
def _manifests(draw: st.DrawFn) -> tuple[Manifest, ...]:
    names = st.sampled_from("abc")

    def node(path: str, depth: int) -> Manifest:
        kind = draw(st.sampled_from(["file", "link", *["dir"] * (depth < 3)]))
        if kind == "file":
            return File(path, draw(st.sampled_from([ONE, TWO])))
        if kind == "link":
            return Symlink(path, draw(_BYTES))
        inner = sorted(draw(st.sets(names, max_size=3)))
        return Dir(path, tuple(node(f"{path}/{name}", depth + 1) for name in inner))

    return tuple(node(name, 0) for name in draw(st.lists(names, min_size=1, max_size=3)))


@given(_manifests(), _manifests())
def test_copies(old: tuple[Manifest, ...], new: tuple[Manifest, ...]) -> None:
    one, other = copy(*old), copy(*new)
    assert bool(differences(one, other)) == (one != other)
    assert all(differences(one, other))
