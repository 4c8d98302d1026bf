"""Digests that are taken from the cache, and those that are added to it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from obuild.context import BuildContext, StatKey
from obuild.ir.manifest import File
from tests.context.trees import digest, plain, slow_manifest


class Notebook:
    """A digest cache that tells what was asked and added."""

    def __init__(self) -> None:
        self.known: dict[StatKey, str] = {}
        self.asked: set[StatKey] = set()
        self.questions = 0

    def lookup(self, stat: StatKey) -> str | None:
        self.asked.add(stat)
        self.questions += 1
        return self.known.get(stat)

    def add(self, stat: StatKey, digest: str) -> None:
        assert stat in self.asked
        self.known[stat] = digest


def cached(root: Path, later_s: float = 10) -> tuple[Notebook, BuildContext]:
    notebook = Notebook()
    clock = lambda: time.time_ns() + int(later_s * 1e9)  # noqa: E731
    return notebook, BuildContext(str(root), notebook, now_ns=clock)


def test_a_known_digest_is_used_unread_and_the_bits_are_present(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    notebook, context = cached(tmp_path)
    real = digest(context.manifest("f", ()))
    (key,) = notebook.known
    status = (tmp_path / "f").stat()
    assert key == StatKey(status.st_dev, status.st_ino, 3, status.st_mtime_ns, status.st_ctime_ns)
    assert notebook.known[key] == real
    notebook.known[key] = "f" * 64
    again = context.manifest("f", ())
    assert again == File("f", "f" * 64)
    assert isinstance(again, File)
    assert (again.executable, again.size, again.mtime) == (False, 3, int(status.st_mtime))
    # A chmod changes the ctime, so the digest is not taken from the cache. Pretend it is.
    (tmp_path / "f").chmod(0o755)
    status = (tmp_path / "f").stat()
    notebook.known = {
        StatKey(status.st_dev, status.st_ino, 3, status.st_mtime_ns, status.st_ctime_ns): real
    }
    bits = context.manifest("f", ())
    assert isinstance(bits, File)
    assert bits.executable


def test_a_young_file_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    for later, remembered in ((0.0, 0), (1.5, 0), (2.5, 1)):
        notebook, context = cached(tmp_path, later)
        context.manifest("f", ())
        assert len(notebook.known) == remembered, later


def test_a_file_from_the_future_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", (0, time.time() + 3600))
    notebook, context = cached(tmp_path)
    context.manifest("f", ())
    assert not notebook.known


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_file_written_to_while_it_is_read_is_not_remembered(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    notebook, context = cached(tmp_path)
    real = os.read

    def write_and_read(fd: int, count: int) -> bytes:
        with (tmp_path / "f").open("r+b") as file:
            file.write(b"!")
        return real(fd, count)

    monkeypatch.setattr(os, "read", write_and_read)
    context.manifest("f", ())
    assert not notebook.known


def test_large_files_are_read_in_threads_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(1 << 20) + n for n in range(12)] + [5, 0]
    for n, size in enumerate(sizes):
        (tmp_path / f"f{n:02}").write_bytes(os.urandom(size))
    notebook, context = cached(tmp_path)
    manifest = context.manifest(".", ())
    assert plain(manifest) == slow_manifest(os.fsencode(tmp_path), b"", frozenset())
    assert len(notebook.known) == len(sizes)
    monkeypatch.setattr(os, "read", None)  # nothing is read again
    assert context.manifest(".", ()) == manifest
    assert notebook.questions == 2 * len(sizes)
