"""Copies from other builds, as the executor sees them: who waits, what is remembered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import pytest

from obuild.engine import Files, PutFiles
from obuild.errors import BuildError, Cancelled, EngineUnavailable, SourceError
from obuild.events import Warned
from obuild.executor.inputs import Options
from obuild.ir.manifest import Attributes, File, Manifest
from obuild.ir.ops import User
from obuild.ir.steps import RunStep
from obuild.keys import key_of
from tests.executor.builds import Stage

SPEC = """((build a ((from busybox) (run (shell make))))
           (from busybox) (copy (from (build a)) (src x y) (dst /t/)))"""


class Sent:
    directory = True

    def __init__(self, manifests: Sequence[Manifest]):
        self.manifests = manifests

    def tar(self, root: bytes) -> Iterator[bytes]:  # noqa: ARG002
        yield b""


class Tree:
    """A snapshot with small files: names to contents and modes."""

    def __init__(self, files: dict[str, tuple[bytes, int]]):
        self.files_by_name = files
        self.asked = 0
        self.away = 0
        self.slow = False

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:  # noqa: ARG002
        if self.away:
            self.away -= 1
            error = EngineUnavailable("the daemon does not answer")
            error.passing = True
            raise error
        if self.slow:
            time.sleep(0.15)
            raise Cancelled("cancelled")  # as an engine does that looks at its flag
        self.asked += 1
        found = []
        for name in sources:
            if name not in self.files_by_name:
                raise SourceError(f'Source path "{name}" not found')
            content, mode = self.files_by_name[name]
            digest = hashlib.sha256(content).hexdigest()
            attributes = Attributes(mode, 0, 0)
            found.append(File(name, digest, bool(mode & 0o111), attributes=attributes))
        return tuple(found)

    def files(self, manifests: Sequence[Manifest], destination: str, user: User) -> Files:  # noqa: ARG002
        return Sent(manifests)


def _source_key(stage: Stage) -> str:
    return next(row.id for row in stage.store.rows() if row.parent == key_of("busybox"))


class Trees(dict[str, Tree]):
    """The same tree for whatever snapshot is asked."""

    def __init__(self, tree: Tree):
        super().__init__()
        self._tree = tree

    def __missing__(self, key: str) -> Tree:
        return self._tree


@pytest.fixture
def tree(stage: Stage) -> Tree:
    made = Tree({"x": (b"x", 0o644), "y": (b"y", 0o644)})
    stage.engine.trees = Trees(made)  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_copy_waits_for_the_build(stage: Stage, tree: Tree, jobs: int) -> None:
    order: list[str] = []

    def script(step: RunStep) -> tuple[bytes, int]:
        assert tree.asked == 0
        order.append(step.cmd)
        return b"", 0

    stage.engine.script = script
    stage.build(SPEC, Options(jobs=jobs))
    assert order == ["make"]
    assert tree.asked == 1
    (put,) = [a for a in stage.engine.performed if isinstance(a, PutFiles)]
    assert isinstance(put.files, Sent)
    assert [m.path for m in put.files.manifests] == ["y", "x"], "OBuilder's order"


def test_manifests_are_remembered_so_a_cached_build_opens_nothing(stage: Stage, tree: Tree) -> None:
    first = stage.build(SPEC)
    engines = stage.engines
    assert stage.build(SPEC) == first
    assert stage.engines == engines
    assert tree.asked == 1
    assert stage.kinds() == ["hit"] * 4


def test_a_build_that_is_made_anew_is_read_anew(stage: Stage, tree: Tree) -> None:
    first = stage.build(SPEC)
    stage.engine.delete([_source_key(stage)])
    tree.files_by_name["x"] = (b"another", 0o644)
    second = stage.build(SPEC)
    assert tree.asked == 2
    assert second.key != first.key


def test_x_bits_of_another_build_are_in_the_key(stage: Stage, tree: Tree) -> None:
    plain = stage.build(SPEC)
    stage.engine.delete([_source_key(stage)])
    tree.files_by_name["x"] = (b"x", 0o755)
    assert stage.build(SPEC) != plain
    assert stage.build(SPEC, Options(obuilder_keys=True)) == plain


def test_a_missing_source_fails_at_its_place(stage: Stage, tree: Tree) -> None:
    del tree.files_by_name["y"]
    with pytest.raises(SourceError, match='Source path "y" not found') as caught:
        stage.build(SPEC)
    assert caught.value.place is not None
    assert caught.value.place.line == 2


def test_a_build_that_fails_ends_who_waits_for_it(stage: Stage, tree: Tree) -> None:
    stage.engine.script = lambda _: (b"", 4)
    with pytest.raises(Exception, match="status 4"):
        stage.build(SPEC, Options(jobs=2))
    assert tree.asked == 0


def test_a_daemon_that_goes_away_while_files_are_read_costs_a_pause(
    stage: Stage, tree: Tree
) -> None:
    tree.away = 2
    stage.build(SPEC, Options(pauses=(0.01, 0.01)))
    said = [e.message.partition(";")[2] for e in stage.events if isinstance(e, Warned)]
    assert said == [" try 2 of 3 in 0.01 s", " try 3 of 3 in 0.01 s"]
    assert stage.engine.opened == 3, "what was open is of no use any more"


def test_files_that_take_too_long_to_be_read_are_a_failure_at_their_place(
    stage: Stage, tree: Tree
) -> None:
    tree.slow = True
    with pytest.raises(BuildError, match=r"not done after 0\.1 s") as caught:
        stage.build(SPEC, Options(step_timeout=0.1))
    assert caught.value.place is not None
    assert caught.value.place.line == 2
    assert caught.value.exit_code == 1
