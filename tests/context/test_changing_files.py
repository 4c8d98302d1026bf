"""Files that change before they are sent, or while they are: the stream stops."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from obuild.errors import SourceError
from tests.context.sending import LARGE, copy, unpack
from tests.context.trees import make_tree


def sending(root: Path, source: str = "d") -> Iterator[bytes]:
    """A stream whose manifest is made and of which nothing was sent."""
    files = copy(root, [source], "/x")
    return files.tar(b"x")


def change_file(path: Path, change: str) -> None:
    folder = path.parent
    match change:
        case "changes" | "grows" | "shrinks" | "is emptied":
            new = {"changes": b"Public", "grows": b"public!", "shrinks": b"publi"}
            path.write_bytes(new.get(change, b""))
            return
        case "folder vanishes" | "folder becomes a file":
            folder.rename(folder.with_name("gone"))
            if change == "folder becomes a file":
                folder.touch()
            return
    path.rename(path.with_name("f2"))
    match change:
        case "becomes a link":
            path.symlink_to("f2")
        case "becomes a folder":
            path.mkdir()
        case "becomes a fifo":
            os.mkfifo(path)
        case "becomes a socket":
            make_socket(path)
        case _:
            assert change == "vanishes"


CHANGES = ["vanishes", "changes", "grows", "shrinks", "is emptied", "becomes a link"]
CHANGES += ["becomes a folder", "becomes a fifo", "becomes a socket"]
CHANGES += ["folder vanishes", "folder becomes a file"]


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    make_tree(
        tmp_path,
        [(b"d", "dir", b""), (b"d/f", "file", b"public"), (b"d/l", "symlink", b"f")],
    )
    return tmp_path


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["d", "d/f"])
def test_a_file_that_changed_stops_the_stream(change: str, source: str, garden: Path) -> None:
    stream = sending(garden, source)
    change_file(garden / "d" / "f", change)
    with pytest.raises(SourceError) as caught:
        b"".join(stream)
    assert caught.value.message in (
        '"d/f" changed while it was sent',
        '"d" changed while it was sent',
    )
    assert caught.value.hint is not None
    assert "again" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("becomes", ["other", "nothing", "file"])
def test_a_link_that_changed_stops_the_stream(becomes: str, garden: Path) -> None:
    stream = sending(garden)
    link = garden / "d" / "l"
    link.unlink()
    if becomes == "other":
        link.symlink_to("g")
    elif becomes == "file":
        link.touch()
    with pytest.raises(SourceError, match=r'^"d/l" changed while it was sent$'):
        b"".join(stream)


def test_an_empty_folder_that_vanished_stops_the_stream(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    stream = sending(tmp_path, "e")
    (tmp_path / "e").rmdir()
    with pytest.raises(SourceError, match=r'^"e" changed while it was sent$'):
        b"".join(stream)


def test_a_touched_file_of_the_same_content_is_sent(garden: Path) -> None:
    files = copy(garden, ["d"], "/x")
    before = b"".join(files.tar(b"x"))
    (garden / "d" / "f").write_bytes(b"public")
    (garden / "d" / "new").touch()
    assert b"".join(files.tar(b"x")) == before


def test_no_more_is_sent_than_was_announced(tmp_path: Path) -> None:
    """A stream that goes on past a member's end would be read as other members."""
    (tmp_path / "log").write_bytes(bytes(LARGE - 1))
    stream = sending(tmp_path, "log")
    with (tmp_path / "log").open("ab") as file:
        file.write(bytes(2 * LARGE))
    sent: list[bytes] = []
    with pytest.raises(SourceError, match=r'^"log" changed while it was sent$'):
        sent.extend(stream)
    assert 0 < sum(map(len, sent)) <= 512 + LARGE - 1


@pytest.mark.parametrize("change", ["write", "grow", "shrink"])
def test_a_large_file_that_changes_in_the_middle(change: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(LARGE))
    stream = sending(tmp_path, "big")
    assert 0 < len(next(stream)) < LARGE
    with (tmp_path / "big").open("r+b") as file:
        if change == "write":
            file.seek(-1, os.SEEK_END)
            file.write(b"!")
        else:
            file.truncate(LARGE + 1 if change == "grow" else LARGE - 1)
    with pytest.raises(SourceError, match=r'^"big" changed while it was sent$'):
        b"".join(stream)


def test_a_file_that_vanishes_in_the_middle_is_still_whole(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(LARGE))
    stream = sending(tmp_path, "big")
    first = next(stream)
    (tmp_path / "big").unlink()
    (info,) = unpack(first + b"".join(stream))
    assert info.size == LARGE


@pytest.mark.parametrize("started", [False, True])
def test_a_folder_swapped_for_a_link_never_leads_out(started: bool, tmp_path: Path) -> None:
    """The files outside have the same names and contents: only where they are is wrong."""
    for place in ("context/d/e", "context/a", "outside/e"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "big").write_bytes(bytes(LARGE))
    stream = sending(tmp_path / "context", ".")
    if started:
        next(stream)
    (tmp_path / "context/d").rename(tmp_path / "moved")
    (tmp_path / "context/d").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError, match=r'^"d" changed while it was sent$'):
        b"".join(stream)


def test_no_file_stays_open(garden: Path) -> None:
    (garden / "d" / "g").write_bytes(bytes(LARGE))
    before = len(os.listdir("/proc/self/fd"))
    b"".join(sending(garden))
    left = sending(garden)
    next(left)
    left.close()  # type: ignore[attr-defined]
    stopped = sending(garden)
    (garden / "d" / "g").write_bytes(b"")
    with pytest.raises(SourceError):
        b"".join(stopped)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads what nobody else may")
def test_a_file_that_may_not_be_read_any_more() -> None:
    code = """
        import os, sys, hashlib
        from obuild.context import BuildContext, files
        from obuild.errors import SourceError
        from obuild.ir.ops import UnixUser
        context = BuildContext(sys.argv[1])
        sent = context.files((context.manifest("d", ()),), "/x", UnixUser(0, 0))
        os.chmod(sys.argv[1] + "/d/f", 0)
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            b"".join(sent.tar(b"x"))
        except SourceError as error:
            print(error.message)
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        make_tree(Path(folder), [(b"d", "dir", b""), (b"d/f", "file", b"x")])
        command = [sys.executable, "-c", textwrap.dedent(code), folder]
        out = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    assert out == 'Cannot read "d/f": Permission denied\n'
