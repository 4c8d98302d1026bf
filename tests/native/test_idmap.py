from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from obuild.engine.native.idmap import Mapping, Range, apply, check_kernel, find_mapping
from obuild.errors import EngineUnavailable
from tests.native.conftest import python_of


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder that is PATH and /etc."""
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o4755)
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("other:1:99999\nann:100000:65536\n")
    return tmp_path


def mapping(host: Path, uid: int = 1000, name: str = "ann") -> Mapping:
    return find_mapping(uid, 100, name, search=str(host), folder=str(host))


def test_the_user_is_root_and_has_the_subordinate_ids(host: Path, as_root: None) -> None:
    found = mapping(host)
    assert found.users == (Range(0, 1000, 1), Range(1, 100000, 65536))
    assert found.groups == (Range(0, 100, 1), Range(1, 100000, 65536))


def test_ranges_by_number_and_several_of_them(host: Path, as_root: None) -> None:
    lines = "1000:5:0\nbroken\nann:x:1\n1000:200000:65000\nann:300000:1000\n"
    (host / "subuid").write_text(lines)
    ranges = (Range(1, 200000, 65000), Range(65001, 300000, 1000))
    assert mapping(host).users[1:] == ranges
    with pytest.raises(EngineUnavailable, match="only 65000 subordinate ids"):
        mapping(host, name="")


def test_each_lack_has_the_command_that_mends_it(host: Path, as_root: None) -> None:
    (host / "subgid").write_text("")
    with pytest.raises(EngineUnavailable, match="ann has no subordinate ids") as lack:
        mapping(host)
    assert "usermod --add-subgids 100000-165535 ann" in (lack.value.hint or "")
    (host / "subuid").unlink()
    with pytest.raises(EngineUnavailable, match="subuid") as lack:
        mapping(host)
    assert "usermod --add-subuids 100000-165535 ann" in (lack.value.hint or "")
    (host / "newgidmap").chmod(0o755)
    with pytest.raises(EngineUnavailable, match="newgidmap has no right") as lack:
        mapping(host)
    assert "chmod u+s" in (lack.value.hint or "")
    (host / "newuidmap").unlink()
    with pytest.raises(EngineUnavailable, match="newuidmap is not on the PATH") as lack:
        mapping(host)
    assert "apt-get install uidmap" in (lack.value.hint or "")


@pytest.mark.parametrize(
    ("name", "value", "mended"),
    [
        ("user/max_user_namespaces", 0, "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", 0, "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            1,
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_kernels_that_forbid_it(tmp_path: Path, name: str, value: int, mended: str) -> None:
    with pytest.raises(EngineUnavailable, match="no user namespaces"):
        check_kernel(str(tmp_path))
    for folder in ("user", "kernel"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).write_text(f"{1 - value}\n")
    check_kernel(str(tmp_path))
    (tmp_path / name).write_text(f"{value}\n")
    with pytest.raises(EngineUnavailable) as forbidden:
        check_kernel(str(tmp_path))
    assert f"sysctl -w {mended}" in (forbidden.value.hint or "")


_REAL = """
import os, pwd, sys
from obuild.engine.native import idmap, syscalls
from obuild.errors import EngineUnavailable
name = pwd.getpwuid(os.getuid()).pw_name
its = idmap.find_mapping(os.getuid(), os.getgid(), name, search=os.environ["PATH"])
(up, began), (go, may) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    syscalls.unshare(syscalls.NEW_USERS)
    os.write(began, b"1")
    os.read(go, 1)
    print(os.getuid(), os.getgid(), flush=True)
    os._exit(0)
os.read(up, 1)
idmap.apply(its, child)
for kind in ("uid", "gid"):
    print(*open(f"/proc/{child}/{kind}_map").read().split(), flush=True)
try:
    idmap.apply(its, child)
except EngineUnavailable as error:
    print(error.message.splitlines()[0][:44], flush=True)
os.write(may, b"1")
os.waitpid(child, 0)
"""


def test_real_maps_of_a_real_user(user: pwd.struct_passwd) -> None:
    ids: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    done = subprocess.run(
        [python_of(user), "-c", _REAL],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
        **ids,
    )
    users, groups, twice, inside = done.stdout.splitlines()
    assert users.split()[:4] == ["0", str(user.pw_uid), "1", "1"]
    assert groups.split()[:4] == ["0", str(user.pw_gid), "1", "1"]
    assert twice == "the ids of a user namespace cannot be set: n"
    assert inside == "0 0"


def test_root_may_not_lend_what_it_was_not_given(as_root: None) -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        whole = (Range(0, 0, 1), Range(1, 4_000_000_000, 65536))
        with pytest.raises(EngineUnavailable, match="cannot be set"):
            apply(Mapping(whole, whole, "newuidmap", "newgidmap"), child.pid)
    finally:
        child.kill()
        child.wait()
