"""Unpacking in a user namespace, where the caller is root over one id only."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.layers.trees import archive, member

_PROGRAM = """
import os, sys
from obuild.layers import ArchiveError, Extraction, extract
root = os.open(sys.argv[1], os.O_RDONLY)
try:
    done = extract(sys.stdin.buffer, root, Extraction(user_xattrs=True, strict=sys.argv[2] == "1"))
except ArchiveError as error:
    print("error:", error, error.hint)
else:
    print("done:", *done.skipped)
"""


def _inside(root: Path, data: bytes, *, strict: bool = True) -> str:
    root.mkdir(exist_ok=True)
    command = ["unshare", "-Ur", sys.executable, "-c", _PROGRAM, str(root), str(int(strict))]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if b"unshare" in done.stderr:
        pytest.skip(f"no user namespaces: {os.fsdecode(done.stderr)}")
    assert done.returncode == 0, done.stderr
    return os.fsdecode(done.stdout)


def test_an_owner_that_has_no_id(tmp_path: Path) -> None:
    said = _inside(tmp_path / "root", archive(member("f", uid=5000)))
    assert "belongs to user 5000, but there are only 1 user ids here" in said
    assert "--add-subuids" in said
    assert "group 7" in _inside(tmp_path / "root", archive(member("f", gid=7)))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (member("n", tarfile.CHRTYPE, devmajor=1, devminor=3), "device node"),
        (member("n", pax_headers={"SCHILY.xattr.trusted.x": "1"}), "attribute trusted.x"),
    ],
)
def test_what_may_not_be_made(tmp_path: Path, what: Any, words: str) -> None:
    said = _inside(tmp_path / "root", archive(what))
    assert said.startswith("error:")
    assert words in said
    said = _inside(tmp_path / "root", archive(what), strict=False)
    assert said.startswith("done: n:")
    assert words in said


def test_marks_for_mounts_in_a_namespace(tmp_path: Path) -> None:
    data = archive(member(".wh.gone"), member("d/.wh..wh..opq"))
    assert _inside(tmp_path / "root", data) == "done:\n"
    status = (tmp_path / "root/gone").lstat()
    assert (status.st_mode, status.st_rdev) == (0o020000, 0)
    assert os.getxattr(tmp_path / "root/d", "user.overlay.opaque") == b"y"
