"""A root of busybox, and a stand-in for the process under which steps run."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obuild.engine.native import cgroups, runtime
from tests.conftest import give_up

_DRIVER = """
import json, os, sys
from obuild.engine.native import idmap, syscalls
root, search, hidden, folder, *command = sys.argv[1:]
if root == "user":
    (up, began), (go, may) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.read(up, 1)
        uid = os.getuid()
        import pwd
        name = pwd.getpwuid(uid).pw_name
        idmap.apply(idmap.find_mapping(uid, os.getgid(), name, search=search), child)
        os.write(may, b"1")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
    syscalls.unshare(syscalls.NEW_USERS)
    os.write(began, b"1")
    os.read(go, 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])
syscalls.unshare(syscalls.NEW_MOUNTS | syscalls.NEW_PIDS)
syscalls.mount(b"none", b"/", None, syscalls.RECURSIVE | syscalls.PRIVATE)
child = os.fork()
if child:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)
syscalls.mount(b"proc", b"/proc", b"proc")
for each in json.loads(hidden):
    syscalls.mount(b"tmpfs", os.fsencode(each), b"tmpfs")
os.chdir(folder)
os.execv(command[0], command)
"""


@pytest.fixture(scope="session")
def as_root() -> None:
    if os.geteuid() != 0:
        give_up("only root may make the namespaces of this test")


@pytest.fixture(scope="session")
def user(as_root: None) -> Iterator[pwd.struct_passwd]:
    """A user with subordinate ids, for this run."""
    if shutil.which("newuidmap") is None:
        give_up("newuidmap is not installed: apt-get install uidmap")
    name = f"obuildtest{os.getpid()}"
    subprocess.run(["useradd", "-M", "-s", "/bin/sh", name], check=True)
    try:
        found = pwd.getpwnam(name)
        python_of(found)
        yield found
    finally:
        subprocess.run(["userdel", name], check=True)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """One that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="obuild-test-") as made:
        os.chmod(made, 0o711)
        yield Path(made)


@pytest.fixture(params=["crun", "runc"])
def runtime_name(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        give_up(f"{request.param} is not installed")
    name: str = request.param
    return name


@pytest.fixture(params=["root", "user"])
def who(request: pytest.FixtureRequest, as_root: None) -> pwd.struct_passwd | None:
    """None: root."""
    if request.param == "root":
        return None
    found: pwd.struct_passwd = request.getfixturevalue("user")
    return found


def python_of(user: pwd.struct_passwd | None) -> str:
    """A Python that the user may run: root's own may be where nobody else comes."""
    if user is None:
        return sys.executable
    ids: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    for path in (sys.executable, "/usr/bin/python3"):
        enough = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            if subprocess.run([path, "-c", enough], check=False, **ids).returncode == 0:
                return path
        except OSError:
            continue
    return give_up("there is no Python that other users than root may run")


def make_root(root: Path, owner: pwd.struct_passwd | None) -> None:
    """A root of busybox, of that user."""
    busybox = shutil.which("busybox")
    if busybox is None:
        give_up("busybox is not installed: apt-get install busybox-static")
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "cat", "id", "ip", "ls", "mknod", "mount", "sleep", "sync", "unshare"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    if owner is not None:
        give(root.parent, owner)


def give(top: Path, owner: pwd.struct_passwd) -> None:
    for each in (top, *top.rglob("*")):
        os.chown(each, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


class Box:
    """Runs bundles with one runtime as one user."""

    def __init__(self, folder: Path, its: runtime.Runtime, user: pwd.struct_passwd | None):
        self.folder, self.runtime, self.user = folder, its, user
        self.rootless = user is not None
        self.python = python_of(user)

    def command(self) -> list[str]:
        state, log = str(self.folder / "state"), str(self.folder / "log")
        return runtime.command(self.runtime, "t1", state=state, log=log)

    def argv(self) -> list[str]:
        return [
            self.python,
            *("-c", _DRIVER, "user" if self.user else "root", os.environ["PATH"]),
            *(json.dumps(self.runtime.hidden), str(self.folder), *self.command()),
        ]

    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {"env": {**os.environ, "PYTHONPATH": os.getcwd()}}
        if self.user:
            found |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return found

    def run(self, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "log").unlink(missing_ok=True)
        return subprocess.run(
            self.argv(), capture_output=True, text=True, timeout=60, **self.options()
        )

    def log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


@pytest.fixture
def box(folder: Path, runtime_name: str, who: pwd.struct_passwd | None) -> Iterator[Box]:
    place = folder / f"{runtime_name}-{'user' if who else 'root'}-{os.urandom(4).hex()}"
    make_root(place / "rootfs", who)
    path = shutil.which(runtime_name)
    assert path is not None
    hybrid = cgroups.find().hybrid
    hidden = (hybrid,) if hybrid and runtime_name == "crun" else ()
    yield Box(place, runtime.Runtime(runtime_name, path, who is None, hidden), who)
    shutil.rmtree(place)
