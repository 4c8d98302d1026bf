"""Manifests of many kinds of trees."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.context import BuildContext, StatKey
from obuild.errors import SourceError
from obuild.ir.manifest import Attributes, Dir, File, Manifest, walk
from obuild.ir.ops import UnixUser
from obuild.sexp import quote
from obuild.source import decode
from tests.context.trees import (
    NAMES,
    Entry,
    Unsupported,
    make_tree,
    open_files,
    plain,
    slow_manifest,
    trees,
)


@contextmanager
def tree(entries: list[Entry]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), entries)
        yield Path(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees(), st.lists(NAMES, max_size=3), st.integers(0, 20))
def test_manifest_is_that_of_a_slow_walk(
    entries: list[Entry], left_out: list[bytes], chosen: int
) -> None:
    sources = [b"", *(path for path, kind, _ in entries if kind != "fifo")]
    source = sources[chosen % len(sources)]
    with tree(entries) as root:
        context = BuildContext(str(root))
        exclude = tuple(map(decode, left_out))
        expected = slow_manifest(os.fsencode(root), source, frozenset(left_out))
        if isinstance(expected, Unsupported):
            with pytest.raises(SourceError) as caught:
                context.manifest(decode(source), exclude)
            assert caught.value.message == f"Unsupported file type for {quote(expected.path)}"
        else:
            assert plain(context.manifest(decode(source), exclude)) == expected


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_files_are_refused(kind: str, tmp_path: Path) -> None:
    make_tree(tmp_path, [(b"d", "dir", b""), (b"d/s", kind, b""), (b"top", kind, b"")])
    context = BuildContext(str(tmp_path))
    with pytest.raises(SourceError) as caught:
        context.manifest("d", ())
    assert caught.value.message == 'Unsupported file type for "d/s"'
    assert caught.value.hint is not None
    assert "(exclude s)" in caught.value.hint
    with pytest.raises(SourceError, match=r'^Not a regular file: top \(in "top"\)$'):
        context.manifest("top", ())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device files")
def test_devices_are_refused(tmp_path: Path) -> None:
    import stat

    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(SourceError, match=r'^Unsupported file type for "null"$'):
        BuildContext(str(tmp_path)).manifest(".", ())


def test_a_nul_in_a_source_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    context = BuildContext(str(tmp_path))
    with pytest.raises(SourceError, match=r'^Source path "a\\000b" not found$'):
        context.manifest("a\0b", ())
    with pytest.raises(SourceError, match=r"^Not a directory: f "):
        context.manifest("f/a\0b", ())


@pytest.mark.parametrize(
    ("mode", "executable"),
    [(0o644, False), (0o100, True), (0o010, True), (0o001, True), (0o600, False)],
)
def test_any_x_bit_makes_a_file_executable(mode: int, executable: bool, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(mode)
    manifest = BuildContext(str(tmp_path)).manifest("f", ())
    assert isinstance(manifest, File)
    assert manifest.executable is executable


def test_sizes_and_whole_seconds(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    os.utime(tmp_path / "f", ns=(0, 1_700_000_000_999_999_999))
    os.symlink("f", tmp_path / "l")
    os.utime(tmp_path / "l", ns=(0, -1_500_000_000), follow_symlinks=False)
    os.utime(tmp_path, ns=(0, 77_000_000_000))
    top = BuildContext(str(tmp_path)).manifest(".", ())
    assert isinstance(top, Dir)
    file, link = top.items
    assert isinstance(file, File)
    assert (file.size, file.mtime, link.mtime, top.mtime) == (5, 1_700_000_000, -2, 77)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[int]:
    """The depth of a tree of folders ``d``, each with a file before and one after it."""
    depth = 2500
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        for name in ("a", "z"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    yield depth
    # Python's own removal does not get down so far.
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_very_deep_tree(deep: int, tmp_path: Path) -> None:
    """Deeper than Python's stack, than a path may be long, and than files may be open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 64, before[1]))
    try:
        context = BuildContext(str(tmp_path))
        manifest: Manifest = context.manifest(".", ())
        sent = context.files((manifest,), "/", UnixUser(0, 0))
        size = sum(map(len, sent.tar(b"")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sent.count() == 1 + 3 * deep
    assert size > 512 * sent.count()
    levels = 0
    while isinstance(manifest, Dir) and manifest.items:
        assert [item.path[-1] for item in manifest.items] == ["a", "d", "z"]
        manifest = manifest.items[1]
        levels += 1
    assert levels == deep


class Remembering(dict[StatKey, str]):
    """The simplest digest cache."""

    def lookup(self, stat: StatKey) -> str | None:
        return self.get(stat)

    def add(self, stat: StatKey, digest: str) -> None:
        self[stat] = digest


def test_twenty_thousand_files_in_one_folder(tmp_path: Path) -> None:
    for n in range(20_000):
        (tmp_path / f"f{n}").write_bytes(b"%d" % n)
    context = BuildContext(str(tmp_path), Remembering(), now_ns=lambda: time.time_ns() + 10**10)
    started = time.process_time()
    manifest = context.manifest(".", ())
    cold = time.process_time() - started
    assert isinstance(manifest, Dir)
    assert len(manifest.items) == 20_000
    assert manifest.items == tuple(sorted(manifest.items, key=lambda i: i.path.encode()))
    started = time.process_time()
    assert context.manifest(".", ()) == manifest
    warm = time.process_time() - started
    # Far above what it takes, far below what a quadratic walk would.
    assert cold < 6
    assert warm < 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_attributes_where_they_are_asked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, [(b"d", "dir", b""), (b"d/f", "file", b"x"), (b"d/l", "symlink", b"/etc")])
    for name, uid, mode in (("d", 1, 0o2750), ("d/f", 2, 0o4711), (".", 3, 0o1777)):
        os.chown(tmp_path / name, uid, uid + 10)
        (tmp_path / name).chmod(mode)
    os.chown(tmp_path / "d" / "l", 4, 14, follow_symlinks=False)
    context = BuildContext(str(tmp_path))
    made = context.manifest(".", (), attributes=True)
    assert {node.path: node.attributes for node in walk(made)} == {
        "": Attributes(0o1777, 3, 13),
        "d": Attributes(0o2750, 1, 11),
        "d/f": Attributes(0o4711, 2, 12),
        "d/l": Attributes(0o777, 4, 14),
    }
    assert made == context.manifest(".", ())
    assert all(node.attributes is None for node in walk(context.manifest(".", ())))
    link = context.manifest("d/l", (), attributes=True)
    assert link.attributes == Attributes(0o777, 4, 14)
