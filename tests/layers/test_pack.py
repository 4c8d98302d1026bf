"""Packing and unpacking: what comes out is what went in, and overlayfs agrees."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obuild.layers import (
    ArchiveError,
    Digested,
    Extraction,
    Form,
    Packing,
    Whiteouts,
    extract,
    gzipped,
    pack,
    remove,
)
from tests.conftest import give_up
from tests.layers.trees import look, opened, unpack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners and mounts")


def packed(root: Path, **how: object) -> bytes:
    with opened(root) as fd:
        return b"".join(pack(fd, Packing(**how)))


_base = st.binary(min_size=1, max_size=12).filter(
    lambda b: b not in (b".", b"..") and b"/" not in b and b"\0" not in b and b[:4] != b".wh."
)
_long = st.sampled_from([b"n" * 99, b"m" * 200, "naïve".encode()])
_entry = st.fixed_dictionaries(
    {
        "base": _base | _long,
        "kind": st.sampled_from(["file", "folder", "link", "hard", "fifo"]),
        "data": st.binary(max_size=1500),
        "mode": st.integers(0, 0o7777),
        "owner": st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2)),
        "mtime": st.integers(-(2**31) * 10**9, 2**33 * 10**9),
        "xattr": st.none() | st.binary(max_size=20),
        "into": st.integers(0, 50),
    }
)


def _build(root: bytes, entries: list[dict]) -> None:
    folders, files = [root], []
    times = []
    for entry in entries:
        path = os.path.join(folders[entry["into"] % len(folders)], entry["base"])
        if os.path.lexists(path) or len(path) > 2000:
            continue
        match entry["kind"]:
            case "file":
                with open(path, "wb") as file:
                    file.write(entry["data"])
                files.append(path)
            case "folder":
                os.mkdir(path)
                folders.append(path)
            case "link":
                os.symlink(entry["data"].replace(b"\0", b"")[:300] or b"x", path)
            case "fifo":
                os.mkfifo(path)
            case "hard":
                if files:
                    os.link(files[entry["into"] % len(files)], path)
                continue
        os.chown(path, *entry["owner"], follow_symlinks=False)
        if entry["kind"] != "link":
            if entry["xattr"] is not None and entry["kind"] != "fifo":
                os.setxattr(path, "user.note", entry["xattr"])
            os.chmod(path, entry["mode"])
        times.append((path, entry["mtime"]))
    for path, mtime in reversed(times):
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


@needs_root
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_entry, max_size=12))
def test_trees_come_back_as_they_were(entries: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a").mkdir()
        _build(os.fsencode(folder / "a"), entries)
        data = packed(folder / "a", nanoseconds=True)
        unpack(data, folder / "b")
        assert look(folder / "b") == look(folder / "a")
        assert packed(folder / "b", nanoseconds=True) == data
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = [os.fsencode(member.name) for member in archive]
        assert sorted(names) == sorted(look(folder / "a"))
        unpack(gzip_of(data), folder / "c")
        assert look(folder / "c") == look(folder / "a")


def gzip_of(data: bytes) -> bytes:
    return b"".join(gzipped([data]))


@needs_root
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7"])
def test_gnu_tar_and_we_agree(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "file").write_bytes(b"x" * 5000)
    (tree / "link").symlink_to("folder/file")
    os.link(tree / "folder" / "file", tree / "hard")
    if form in ("gnu", "pax"):
        (tree / ("long" * 50)).write_bytes(b"")
        (tree / "sym").symlink_to("t" * 150)
        os.chown(tree / "hard", 3_000_000, 4_000_000)
    made = subprocess.run(
        ["tar", "-C", tree, f"--format={form}", "--numeric-owner", "-c", "."],
        stdout=subprocess.PIPE,
        check=True,
    )
    unpack(made.stdout, tmp_path / "ours")
    exact = form == "pax"
    assert look(tmp_path / "ours", times=exact) == look(tree, times=exact)
    (tmp_path / "theirs").mkdir()
    data = packed(tree, nanoseconds=True)
    flags = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xp"]
    subprocess.run(["tar", "-C", tmp_path / "theirs", *flags], input=data, check=True)
    assert look(tmp_path / "theirs") == look(tree)


@needs_root
@pytest.mark.parametrize("sparse", ["0.0", "0.1", "1.0", "old"])
def test_sparse_files_stay_sparse(tmp_path: Path, sparse: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "holes", "wb") as file:
        for number in range(30):
            file.seek(number * 1_000_000)
            file.write(b"data %d" % number)
        file.truncate(40_000_000)
    form = ["--format=gnu"] if sparse == "old" else ["--format=pax", f"--sparse-version={sparse}"]
    made = subprocess.run(
        ["tar", "-C", tree, *form, "-S", "-c", "."], stdout=subprocess.PIPE, check=True
    ).stdout
    assert len(made) < 1_000_000
    unpack(made, tmp_path / "ours")
    assert (tmp_path / "ours/holes").read_bytes() == (tree / "holes").read_bytes()
    assert (tmp_path / "ours/holes").stat().st_blocks * 512 < 1_000_000


@pytest.mark.parametrize("tool", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_streams(tmp_path: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        give_up(f"there is no {tool}")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(os.urandom(300_000) + bytes(3_000_000))
    data = packed(tmp_path / "a")
    made = subprocess.run([tool, "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    done = unpack(made, tmp_path / "b", owners=os.geteuid() == 0)
    assert done.digest == digest_of(data)
    assert done.size == len(data)
    assert (tmp_path / "b/f").read_bytes() == (tmp_path / "a/f").read_bytes()
    half = len(data) // 2
    two = [
        subprocess.run([tool, "-c"], input=part, stdout=subprocess.PIPE, check=True).stdout
        for part in (data[:half], data[half:])
    ]
    assert unpack(b"".join(two), tmp_path / "c", owners=False).digest == digest_of(data)
    for wrong in (made[:-1], made[: len(made) // 2], made + b"more"):
        with pytest.raises(ArchiveError):
            unpack(wrong, tmp_path / "d", owners=False)


def digest_of(data: bytes) -> str:
    passed = Digested([data])
    assert b"".join(passed) == data
    return passed.digest.removeprefix("sha256:")


def test_times_are_whole_and_no_later_than_the_epoch(tmp_path: Path) -> None:
    for name, time in {"old": 1_500_000_000, "new": 9_500_000_000}.items():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, ns=(time, time))
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path, epoch=5))) as archive:
        assert {m.name: m.mtime for m in archive} == {"new": 5, "old": 1}


def test_what_a_layer_cannot_hold(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        assert packed(tmp_path) == bytes(1024)
    (tmp_path / ".wh.x").write_bytes(b"")
    with pytest.raises(ArchiveError, match="marks a file as gone"):
        packed(tmp_path)
    assert packed(tmp_path, form=Form.PLAIN)
    (tmp_path / ".wh.x").rename(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"four")
    with pytest.raises(ArchiveError, match="more than 3 bytes"):
        packed(tmp_path, limit=3)


@needs_root
@pytest.mark.parametrize("key", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_trees_whose_content_is_elsewhere(tmp_path: Path, key: str) -> None:
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", key, b"/x")
    with pytest.raises(ArchiveError, match="elsewhere"):
        packed(tmp_path)


_CHANGES = """
set -e
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
cd merged
rm gone; rm -r tree; mkdir tree; echo new > tree/new
rm -r empty; echo file > empty; rm file; mkdir file; echo x > file/x
echo more >> changed; chmod 4711 mode; ln changed hard; mv moved elsewhere
cd ..
cp -a merged seen
umount merged
"""


@needs_root
def test_marks_mean_what_overlayfs_means(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    lower = tmp_path / "lower"
    for name in ("tree/deep", "empty", "moved"):
        (lower / name).mkdir(parents=True)
    for name in ("gone", "file", "changed", "mode", "tree/old", "tree/deep/x", "moved/in"):
        (lower / name).write_text(name)
    shutil.copytree(lower, tmp_path / "flat", symlinks=True)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _CHANGES], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    data = packed(tmp_path / "upper", nanoseconds=True)
    unpack(data, tmp_path / "flat", whiteouts=Whiteouts.APPLY)
    seen, flat = look(tmp_path / "seen", times=False), look(tmp_path / "flat", times=False)
    assert flat == seen
    unpack(data, tmp_path / "again")
    assert packed(tmp_path / "again", nanoseconds=True) == data
    with opened(tmp_path) as fd:
        for name in os.listdir(tmp_path):
            remove(os.fsencode(name), fd)
    assert os.listdir(tmp_path) == []


@needs_root
def test_missing_folders_are_as_in_the_layers_below(tmp_path: Path) -> None:
    (tmp_path / "lower/tmp").mkdir(parents=True)
    os.chmod(tmp_path / "lower/tmp", 0o1777)
    (tmp_path / "a/tmp/new").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    made = subprocess.run(
        ["tar", "-C", tmp_path / "a", "-c", "--no-recursion", "tmp/new"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    with opened(tmp_path / "lower") as lower, opened(tmp_path / "root") as root:
        extract(io.BytesIO(made), root, Extraction(lower=(lower,)))
    assert (tmp_path / "root/tmp").stat().st_mode & 0o7777 == 0o1777


def test_removing_trees_deeper_than_paths_are_long(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("stays")
    top = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("tree", dir_fd=top)
    fd = os.open("tree", os.O_RDONLY, dir_fd=top)
    for _ in range(3000):
        os.mkdir("directory", dir_fd=fd)
        os.symlink(tmp_path / "outside", "link", dir_fd=fd)
        below = os.open("directory", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove(b"tree", top)
    remove(b"nothing", top)
    os.close(top)
    assert os.listdir(tmp_path) == ["outside"]
