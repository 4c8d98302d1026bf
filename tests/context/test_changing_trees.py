"""Trees that change while their manifest is made; none of it may lead out of the context."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from obuild.context import BuildContext, manifests
from obuild.context.folders import Folders
from obuild.errors import SourceError
from obuild.ir.manifest import Dir
from tests.context.trees import digest, open_files


def between(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Call ``change`` once, after the tree was looked at and before files are read."""
    real = manifests._Reader.read

    def read(self: Any, files: Any) -> None:
        change()
        real(self, files)

    monkeypatch.setattr(manifests._Reader, "read", read)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder outside of the context with a file of a name that the context has too."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    return outside


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"public")
    return root


def swap(old: Path, new: Path) -> None:
    old.rename(old.with_name("moved"))
    os.symlink(new, old)


def test_a_folder_swapped_for_a_link_does_not_lead_out(
    inside: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(monkeypatch, lambda: swap(inside / "d", secret))
    # The folder that was looked at is still open, and goes on to be the one that is read.
    manifest = BuildContext(str(inside)).manifest("d", ())
    assert isinstance(manifest, Dir)
    assert digest(manifest.items[0]) == sha256(b"public").hexdigest()


def test_a_folder_swapped_for_a_link_is_not_opened_again(
    inside: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "e").mkdir()  # looked at last, so "d" is not open any more
    (inside / "e" / "f").touch()
    between(monkeypatch, lambda: swap(inside / "d", secret))
    with pytest.raises(SourceError, match=r'^"d/f" changed while it was read$'):
        BuildContext(str(inside)).manifest(".", ())


def test_a_folder_swapped_before_it_is_opened_is_an_error(
    inside: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Folders.names

    def names(self: Folders, path: str) -> list[bytes]:
        if path == "d" and not (inside / "d").is_symlink():
            swap(inside / "d", secret)
        return real(self, path)

    monkeypatch.setattr(Folders, "names", names)
    with pytest.raises(SourceError, match=r'^"d" changed while it was read$'):
        BuildContext(str(inside)).manifest("d", ())


@pytest.mark.parametrize("size", [6, 2 << 20])
def test_a_file_swapped_for_a_link_is_an_error(
    size: int, inside: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "d" / "f").write_bytes(bytes(size))
    between(monkeypatch, lambda: swap(inside / "d" / "f", secret / "f"))
    with pytest.raises(SourceError, match=r'^"d/f" changed while it was read$'):
        BuildContext(str(inside)).manifest("d", ())


def test_a_file_swapped_for_a_fifo_does_not_hang(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_fifo() -> None:
        (inside / "d" / "f").unlink()
        os.mkfifo(inside / "d" / "f")

    between(monkeypatch, make_fifo)
    with pytest.raises(SourceError, match=r'^"d/f" changed while it was read$'):
        BuildContext(str(inside)).manifest("d", ())


def test_a_file_that_vanishes_has_obuilders_message(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(monkeypatch, (inside / "d" / "f").unlink)
    with pytest.raises(SourceError, match=r'^File "d/f" not found in source directory$'):
        BuildContext(str(inside)).manifest("d", ())


def test_no_file_stays_open(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(6):
        (inside / "d" / f"large{n}").write_bytes(bytes(2 << 20))
    before = open_files()
    context = BuildContext(str(inside))
    context.manifest(".", ())
    with pytest.raises(SourceError):
        context.manifest("d/f/x", ())
    between(monkeypatch, (inside / "d" / "large3").unlink)
    with pytest.raises(SourceError):
        context.manifest(".", ())
    assert open_files() == before
