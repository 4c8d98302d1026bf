"""The context itself: folders that are none, hints, and several threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from obuild.context import BuildContext, NoDigestCache, StatKey
from obuild.errors import ContextError, SourceError
from obuild.ir.ops import UnixUser
from tests.context.trees import make_tree


def test_a_context_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match=r"does not exist$") as caught:
        BuildContext(str(tmp_path / "no"))
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["file", "fifo", "dangling"])
def test_a_context_that_is_no_folder(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    if kind == "file":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(ContextError, match=r"(is not a folder|does not exist)$"):
        BuildContext(str(path))


@pytest.mark.parametrize("root", ["", "a\0b", "n" * 300])
def test_texts_that_are_no_path(root: str) -> None:
    with pytest.raises(ContextError):
        BuildContext(root)


def test_a_context_may_be_a_link_and_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    context = BuildContext("link")
    monkeypatch.chdir("/")
    assert context.manifest("f", ()).path == "f"


def test_a_context_that_is_replaced_or_goes(tmp_path: Path) -> None:
    root = tmp_path / "c"
    root.mkdir()
    (root / "f").touch()
    context = BuildContext(str(root))
    root.rename(tmp_path / "old")
    with pytest.raises(ContextError, match=r"does not exist$"):
        context.manifest("f", ())
    (tmp_path / "other").mkdir()
    root.symlink_to("other")
    with pytest.raises(ContextError, match="was replaced"):
        context.manifest("f", ())


def hint(context: BuildContext, source: str) -> str | None:
    with pytest.raises(SourceError) as caught:
        context.manifest(source, ())
    return caught.value.hint


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    make_tree(
        tmp_path / "context",
        [
            (b"src", "dir", b""),
            (b"src/main.py", "file", b""),
            (b"src/\xc3\xa9tude", "file", b""),
            (b"a", "file", b""),
            (b"link", "symlink", b"src"),
        ],
    )
    return tmp_path


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("src/mian.py", '"src/main.py"'),
        ("src/MAIN.PY", '"src/main.py"'),
        ("scr/main.py", None),  # three letters: two of them may not differ
        ("srcs/main.py", '"src/main.py"'),
        ("./srcs//main.py/", '"src/main.py"'),
        ("src/etude", '"src/étude"'),
        ("b", None),
        ("src/other.py", None),
        ("srcs/../x", None),
    ],
)
def test_a_name_that_is_near(source: str, meant: str | None, tree: Path) -> None:
    context = BuildContext(str(tree / "context"), cwd=str(tree / "context"))
    expected = f"Did you mean {meant}?" if meant else None
    assert context.suggest(source) == expected
    assert hint(context, source) == expected


def test_a_source_in_the_current_folder(tree: Path) -> None:
    (tree / "note.txt").touch()
    context = BuildContext(str(tree / "context"), cwd=str(tree))
    said = hint(context, "note.txt")
    assert said is not None
    assert said.startswith('"note.txt" stands in the current folder, but the build context is "')
    assert str(tree / "context") in said
    assert context.suggest("note.txt") == said
    assert hint(context, "other.txt") is None
    assert hint(BuildContext(str(tree / "context")), "note.txt") is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("..", "Sources are paths inside the build context and cannot leave it."),
        ("link/main.py", '"link" is a symbolic link to "src": sources follow none.'),
        ("a/", '"a" is a file: nothing, not even a slash, can follow its name.'),
        ("src/main.py/x", '"src/main.py" is a file: nothing, not even a slash'),
    ],
)
def test_hints_of_other_refusals(source: str, expected: str, tree: Path) -> None:
    said = hint(BuildContext(str(tree / "context")), source)
    assert said is not None
    assert said.startswith(expected)


def test_no_suggestion_from_a_huge_folder(tmp_path: Path) -> None:
    for n in range(5001):
        (tmp_path / f"name{n}").touch()
    context = BuildContext(str(tmp_path))
    assert hint(context, "nams77") is None
    (tmp_path / "name0").unlink()
    assert hint(context, "nams77") == 'Did you mean "name77"?'


def test_a_cache_that_knows_nothing() -> None:
    cache = NoDigestCache()
    key = StatKey(1, 2, 3, 4, 5)
    cache.add(key, "0" * 64)
    assert cache.lookup(key) is None


def test_several_threads_use_one_context(tree: Path) -> None:
    root = tree / "context"
    for n in range(50):
        (root / "src" / f"f{n}").write_bytes(bytes(n) * 1000)
    context = BuildContext(str(root))

    def work(_: int) -> tuple[object, bytes]:
        manifest = context.manifest(".", ())
        files = context.files((manifest,), "/x/", UnixUser(1, 1))
        return manifest, b"".join(files.tar(b"x"))

    expected = work(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(work, range(12)))
