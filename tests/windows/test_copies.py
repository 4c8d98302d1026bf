"""Copies into a played Windows guest: by tar over standard input, from tools on a volume.

The scripts of ``libexec`` are really run, by the Bash of this machine.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from obuild import resources
from obuild.engine.docker.windows.archive import NEEDED
from tests import leftovers
from tests.program import Obuild
from tests.windows.daemon import BASE, Daemon

STORE = "--store=docker:./var"
DLL = "cygwin1.dll"


def make_tools(path: Path, folder: str = "", *, without: str = "", other: bytes = b"") -> Path:
    """An archive of what the tests take for tools."""
    names = [name for name in (*NEEDED, DLL, "sort.exe") if name != without]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(folder + name, f"tool {name}".encode() + other)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name in names:
            content = f"tool {name}".encode() + other
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(folder + "sh.exe")
        link.type, link.linkname = tarfile.SYMTYPE, "bash.exe"
        tar.addfile(link)
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return make_tools(tmp_path / "tools.tar.gz", "cygwin64/bin/")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "src" / "empty").mkdir(parents=True)
    (folder / "src" / "bell.txt").write_text("ding\n")
    (folder / "src" / "big").write_bytes(os.urandom(3_000_000))
    (folder / "src" / ("long" * 40)).write_text("a name of 160 bytes\n")
    (folder / "src" / "link").symlink_to("bell.txt")
    (folder / "rope.txt").write_text("hemp\n")
    return folder


def spec_of(folder: Path, *ops: str) -> None:
    (folder / "a.spec").write_text(f"((from {BASE}) {' '.join(ops)})")


def drive_of(daemon: Daemon, store: Path, out: bytes) -> Path:
    """The files of the build's result."""
    key = out.decode().splitlines()[-1].split('"')[1]
    return daemon.image(f"{leftovers.prefix_of(store).rstrip('-')}-image-{key}").drive


def test_a_folder(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    spec_of(tmp_path, "(copy (src src) (dst /lab/))", "(copy (src rope.txt) (dst rope))")
    build = ("build", "-f", "a.spec", STORE, "-v", "context")
    done = windows(*build, "--libexec-tools", tools, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    drive = drive_of(daemon, tmp_path / "var", done.stdout)
    copied = drive / "lab" / "src"
    assert sorted(p.name for p in copied.iterdir()) == sorted(os.listdir(context / "src"))
    assert (copied / "big").read_bytes() == (context / "src" / "big").read_bytes()
    assert (copied / "link").readlink() == Path("bell.txt")
    assert (drive / "rope").read_text() == "hemp\n"
    assert not daemon.containers
    assert not [r for r in daemon.requests if r.path.endswith(("/archive", "/load"))]
    prefix = leftovers.prefix_of(tmp_path / "var").rstrip("-")
    volume = daemon.volume(f"{prefix}-libexec")
    assert (volume / "sh.exe").read_bytes() == (volume / "bash.exe").read_bytes()
    assert (volume / "manifest.bash").read_bytes() == resources.read("libexec", "manifest.bash")
    containers = [r.body for r in daemon.asked("POST", "/containers/create")]
    mounts = [body["HostConfig"]["Mounts"][0] for body in containers]
    assert {mount["Target"] for mount in mounts} == {f"C:/{prefix}-libexec"}
    # One writes into the volume: looked for, filled, looked at, two copies.
    assert [mount.get("ReadOnly", False) for mount in mounts] == [True, False, True, True, True]
    for body in containers:
        assert body["User"] == "ContainerAdministrator"
        assert (body["HostConfig"]["Isolation"], body["HostConfig"]["NetworkMode"]) == (
            "hyperv",
            "none",
        )
    assert containers[-1]["Entrypoint"][0] == f"C:/{prefix}-libexec/bash.exe"

    done = windows(*build, cwd=tmp_path)
    assert done.stdout.count(b"---> using") == 3


def test_tools_are_brought_once(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    def build(*options: str | Path) -> tuple[int, int]:
        """The exit status, and how often the volume was written."""
        (context / "rope.txt").write_text(os.urandom(8).hex())
        daemon.requests.clear()
        spec_of(tmp_path, "(copy (src rope.txt) (dst /rope))")
        done = windows("build", "-f", "a.spec", STORE, *options, "context", cwd=tmp_path)
        creates = [r.body["HostConfig"] for r in daemon.asked("POST", "/containers/create")]
        written = [m for host in creates for m in host["Mounts"] if not m.get("ReadOnly")]
        return done.returncode, len(written)

    assert build("--libexec-tools", tools) == (0, 1)
    assert build() == (0, 0)
    assert build("--libexec-tools", tools) == (0, 0)
    other = make_tools(tmp_path / "other.zip", other=b"2")
    assert build("--libexec-tools", other) == (0, 1)
    assert build() == (0, 0)
    prefix = leftovers.prefix_of(tmp_path / "var").rstrip("-")
    (daemon.volume(f"{prefix}-libexec") / "tar.exe").write_bytes(b"something else")
    assert build()[0] == 2
    assert build("--libexec-tools", other) == (0, 1)
    marks = [p.name for p in daemon.volume(f"{prefix}-libexec").glob("obuild-tools-*")]
    assert len(marks) == 1


def test_without_tools(windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path) -> None:
    spec_of(tmp_path, "(copy (src rope.txt) (dst /rope))")
    done = windows("build", "-f", "a.spec", STORE, "context", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--libexec-tools FILE" in done.stderr
    assert not daemon.containers


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "missing.tar", b"No such file"),
        (lambda path: path, b"Is a directory"),
        (lambda path: make_tools(path / "t.zip", without="tar.exe"), b"there is no tar.exe"),
        (lambda path: make_tools(path / "t.tar", without="bash.exe"), b"there is no bash.exe"),
        (lambda path: path / "a.spec", b"it is no archive"),
    ],
)
def test_tools_that_are_none(
    windows: Obuild, tmp_path: Path, context: Path, make: object, words: bytes
) -> None:
    assert callable(make)
    spec_of(tmp_path, "(copy (src rope.txt) (dst /rope))")
    given = make(tmp_path)
    options = ("--libexec-tools", given, "context")
    done = windows("build", "-f", "a.spec", STORE, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr


def test_permissions_of_the_destination_stay(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    """The article: they are kept before the tarball's extraction and restored after it."""
    spec_of(
        tmp_path,
        '(run (shell "mkdir C:\\\\lab\\\\deep"))',
        "(copy (src src) (dst C:/lab/deep))",
        "(copy (src rope.txt) (dst C:/lab/new/))",
        "(copy (src rope.txt) (dst C:\\\\lab\\\\hemp))",
    )
    (daemon.folder / "base").chmod(0o755)
    done = windows(
        "build", "-f", "a.spec", STORE, "--libexec-tools", tools, "context", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr.decode()
    drive = drive_of(daemon, tmp_path / "var", done.stdout)
    assert (drive / "lab" / "deep" / "bell.txt").exists()
    assert (drive / "lab" / "new" / "rope.txt").exists()
    assert (drive / "lab" / "hemp").exists()
    assert not list(drive.rglob("obuild-acl-*"))
    calls = [line.split() for line in daemon.acls.read_text().splitlines()]
    # Only of what is there already.
    assert [(words[1], words[2]) for words in calls] == [("deep", "/save"), (".", "/restore")]


@pytest.mark.parametrize(
    ("ops", "status", "words"),
    [
        (["(copy (src rope.txt) (dst D:/x))"], 1, b"own drive is C:"),
        (['(run (shell "mkdir lab"))', "(copy (src rope.txt) (dst /lab))"], 1, b"cannot copy to"),
        (["(user (uid 0) (gid 0))", '(run (shell "echo a"))'], 1, b"there is no user 0:0"),
        (['(run (shell "exit 3"))'], 1, b"3"),
        (['(run (network host) (shell "echo a"))'], 3, b"there is no network host"),
    ],
)
def test_what_cannot_be(
    windows: Obuild,
    daemon: Daemon,
    tmp_path: Path,
    context: Path,
    tools: Path,
    ops: list[str],
    status: int,
    words: bytes,
) -> None:
    spec_of(tmp_path, *ops)
    done = windows(
        "build", "-f", "a.spec", STORE, "--libexec-tools", tools, "context", cwd=tmp_path
    )
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr.decode()
    assert not daemon.containers
    tags = [tag for image in daemon.images.values() for tag in image.tags]
    assert not [tag for tag in tags if "-tmp-" in tag]


@pytest.mark.parametrize("name", ["a:b", "a\\b", "tail.", "what?"])
def test_names_that_windows_cannot_have(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path, name: str
) -> None:
    (context / "src" / name).write_text("x")
    spec_of(tmp_path, "(copy (src src) (dst /lab/))")
    done = windows(
        "build", "-f", "a.spec", STORE, "--libexec-tools", tools, "context", cwd=tmp_path
    )
    assert done.returncode == 1
    assert b"no file of a Windows guest" in done.stderr
    assert not daemon.containers


def test_from_another_build(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    """By manifest.bash and tar of the tools; sources count from the root of drive C:."""
    made = f"(build dev ((from {BASE}) (copy (src src) (dst /lab/)) (workdir /src)))"
    (tmp_path / "a.spec").write_text(
        f"({made} (from {BASE}) (copy (from (build dev)) (src lab/src) (dst /out/))"
        " (copy (from (build dev)) (src /lab/src/bell.txt) (dst /out/bell)))"
    )
    build = ("build", "-f", "a.spec", STORE, "-v", "context")
    done = windows(*build, "--libexec-tools", tools, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    drive = drive_of(daemon, tmp_path / "var", done.stdout)
    assert sorted(os.listdir(drive / "out" / "src")) == sorted(os.listdir(context / "src"))
    assert (drive / "out" / "src" / "big").read_bytes() == (context / "src" / "big").read_bytes()
    assert (drive / "out" / "src" / "link").readlink() == Path("bell.txt")
    assert (drive / "out" / "bell").read_text() == "ding\n"
    assert not daemon.containers
    assert not [r for r in daemon.requests if r.path.endswith(("/archive", "/load"))]
    assert b"hyperv" in done.stderr
    creates = [r.body["HostConfig"] for r in daemon.asked("POST", "/containers/create")]
    assert all(host["Isolation"] == "hyperv" for host in creates)
    assert windows(*build, cwd=tmp_path).stdout.count(b"---> using") == 5


def test_what_is_missing_in_another_build(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    (tmp_path / "a.spec").write_text(
        f"((build dev ((from {BASE}))) (from {BASE})"
        " (copy (from (build dev)) (src /lab/none) (dst /out/)))"
    )
    options = ("--libexec-tools", tools, "context")
    done = windows("build", "-f", "a.spec", STORE, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert b'Source path "/lab/none" not found' in done.stderr, done.stderr.decode()
    assert not daemon.containers


def test_a_context_onto_the_drive(
    windows: Obuild, daemon: Daemon, tmp_path: Path, context: Path, tools: Path
) -> None:
    """The drive's own permissions stay: no member for it is sent."""
    spec_of(tmp_path, "(copy (src .) (dst /))", "(copy (src src) (dst /))")
    build = ("build", "-f", "a.spec", STORE, "--libexec-tools", tools, "context")
    done = windows(*build, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    drive = drive_of(daemon, tmp_path / "var", done.stdout)
    assert (drive / "rope.txt").read_text() == "hemp\n"
    assert (drive / "src" / "link").is_symlink()
    assert not daemon.acls.exists()
