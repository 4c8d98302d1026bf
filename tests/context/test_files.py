"""Tar streams of copies: what is in them and where it lands."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.context import BuildContext
from obuild.engine import Files
from obuild.errors import ScriptError, SourceError
from obuild.ir.manifest import Dir, File, Manifest
from obuild.ir.ops import NamedUser, UnixUser
from obuild.source import decode, encode
from tests.context.sending import LARGE, ROOT, copy, unpack
from tests.context.trees import Entry, make_tree, trees


def members(files: Files, root: bytes) -> list[tuple[bytes, bytes]]:
    """The names in the stream and their kinds."""
    return [
        (encode(info.name) + (b"/" if info.isdir() else b""), info.type)
        for info in unpack(b"".join(files.tar(root)))
    ]


@pytest.fixture
def orchard(tmp_path: Path) -> Path:
    make_tree(
        tmp_path,
        [
            (b"gate", "script", b"#!/bin/sh\n"),
            (b"rows", "dir", b""),
            (b"rows/apple", "file", b"red"),
            (b"rows/deep", "dir", b""),
            (b"rows/deep/plum", "file", b""),
            (b"rows/up", "symlink", b"../gate"),
        ],
    )
    return tmp_path


WHOLE = ["", "gate", "rows/", "rows/apple", "rows/deep/", "rows/deep/plum", "rows/up"]


@pytest.mark.parametrize(
    ("sources", "destination", "root", "expected"),
    [
        (["gate"], "/bin/gate", b"bin/gate", ["bin/gate"]),
        (["gate"], "/opt/", b"opt", ["opt/gate"]),
        (["gate"], "/", b"", ["gate"]),
        (["rows/up"], "/opt/", b"opt", ["opt/up"]),
        (["rows/up"], "/opt", b"opt", ["opt"]),
        (["rows/deep/plum", "gate"], "/a/b/", b"a/b", ["a/b/plum", "a/b/gate"]),
        (["rows/deep"], "/opt", b"opt", ["opt/", "opt/plum"]),
        (["rows/deep"], "/opt/", b"opt", ["opt/deep/", "opt/deep/plum"]),
        (["rows/deep"], "/", b"", ["deep/", "deep/plum"]),
        (["rows/deep"], "/.", b"", ["./", "plum"]),
        (
            ["."],
            "/opt/",
            b"opt",
            [f"opt/{name}" for name in WHOLE],
        ),
        (
            ["."],
            "/opt",
            b"opt",
            [f"opt/{name}" for name in WHOLE],
        ),
        (
            ["."],
            "/",
            b"",
            ["./", *WHOLE[1:]],
        ),
        (["gate", "gate"], "/", b"", ["gate", "gate"]),
    ],
)
def test_where_sources_land(
    sources: list[str], destination: str, root: bytes, expected: list[str], orchard: Path
) -> None:
    files = copy(orchard, sources, destination)
    assert files.directory is destination.endswith("/")
    assert [name.decode() for name, _ in members(files, root)] == expected
    assert files.count() == len(expected)


def test_a_file_cannot_become_the_root_of_the_guest(orchard: Path) -> None:
    with pytest.raises(SourceError, match="cannot become the root of the guest"):
        members(copy(orchard, ["gate"], "/."), b"")


def test_several_sources_need_a_directory(orchard: Path) -> None:
    with pytest.raises(ValueError, match="ends in a slash"):
        copy(orchard, ["gate", "rows"], "/opt")


def test_modes_owners_and_times(orchard: Path) -> None:
    os.utime(orchard / "gate", (0, 1_000_000_000))
    os.utime(orchard / "rows/up", (0, -7), follow_symlinks=False)
    (orchard / "rows").chmod(0o700)
    (orchard / "rows/apple").chmod(0o600)
    user = UnixUser(1000, 4294967294)
    stream = b"".join(copy(orchard, ["."], "/x/", user).tar(b"x"))
    infos = {info.name.removeprefix("x/"): info for info in unpack(stream)}
    modes = {name: (info.mode, info.type) for name, info in infos.items()}
    assert modes == {
        "x": (0o755, tarfile.DIRTYPE),
        "gate": (0o755, tarfile.REGTYPE),
        "rows": (0o755, tarfile.DIRTYPE),
        "rows/apple": (0o644, tarfile.REGTYPE),
        "rows/deep": (0o755, tarfile.DIRTYPE),
        "rows/deep/plum": (0o644, tarfile.REGTYPE),
        "rows/up": (0o777, tarfile.SYMTYPE),
    }
    for info in infos.values():
        assert (info.uid, info.gid, info.uname, info.gname) == (1000, 4294967294, "", "")
    assert infos["gate"].mtime == 1_000_000_000
    assert infos["rows/up"].mtime == -7
    assert infos["rows/up"].linkname == "../gate"


def test_a_user_by_name_gets_roots_numbers(orchard: Path) -> None:
    files = copy(orchard, ["gate"], "C:/x", NamedUser("ContainerAdministrator"))
    (info,) = unpack(b"".join(files.tar(b"C:/x")))
    assert (info.uid, info.gid) == (0, 0)


@pytest.mark.parametrize("user", [UnixUser(-1, 0), UnixUser(0, 2**32 - 1), UnixUser(1 << 62, 0)])
def test_numbers_that_no_user_has(user: UnixUser, orchard: Path) -> None:
    with pytest.raises(ScriptError, match="No user or group has the number"):
        copy(orchard, ["gate"], "/x", user)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees(special=False), st.sampled_from([b"", b"r", b"a/b", b"\xff"]))
def test_a_stream_read_back_is_the_tree(entries: list[Entry], root: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), entries)
        context = BuildContext(folder)
        files = context.files((context.manifest("", ()),), "/any/", ROOT)
        stream = b"".join(files.tar(root))
        assert stream == b"".join(files.tar(root))
        with tarfile.open(
            fileobj=io.BytesIO(stream), encoding="utf-8", errors="surrogateescape"
        ) as archive:
            found = {}
            for info in archive:
                content = archive.extractfile(info) if info.isreg() else None
                name = encode(info.name).removeprefix(root).removeprefix(b"/")
                found[name] = (
                    info.type,
                    info.mode,
                    content.read() if content else encode(info.linkname),
                )
        found.pop(b"." if root == b"" else b"")
    kinds = {
        "file": (tarfile.REGTYPE, 0o644),
        "script": (tarfile.REGTYPE, 0o755),
        "dir": (tarfile.DIRTYPE, 0o755),
        "symlink": (tarfile.SYMTYPE, 0o777),
    }
    assert found == {
        path: (*kinds[kind], b"" if kind == "dir" else content) for path, kind, content in entries
    }


def test_gnu_tar_unpacks_long_and_odd_names(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    source.mkdir()
    target.mkdir()
    long = b"n" * 200
    make_tree(
        source,
        [
            (long, "dir", b""),
            (long + b"/" + long, "file", b"deep"),
            (long + b"/\xff\n", "file", b"odd"),
            (b"l", "symlink", b"../" * 60),
            (b"h" * 100, "file", b"edge"),
        ],
    )
    os.utime(source / ("h" * 100), (0, -12345))
    stream = b"".join(copy(source, ["."], "/").tar(b""))
    command = ["tar", "-xpf", "-", "-C", str(target), "--no-same-owner"]
    subprocess.run(command, input=stream + bytes(1024), check=True)
    unpacked = BuildContext(str(target))
    assert unpacked.manifest(".", ()) == BuildContext(str(source)).manifest(".", ())
    assert (target / ("h" * 100)).stat().st_mtime == -12345


def test_chunks_are_neither_small_nor_over_one_mebibyte(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"small{n}").write_bytes(bytes(5000))
    (tmp_path / "large").write_bytes(bytes(LARGE + 17))
    files = copy(tmp_path, ["."], "/")
    sizes = [len(chunk) for chunk in files.tar(b"")]
    assert max(sizes) < 1 << 20
    assert min(sizes[:-1]) >= 1 << 19
    assert files.size() == 300 * 5000 + LARGE + 17


# The names that are shown


@pytest.mark.parametrize(
    ("sources", "destination"),
    [
        (["gate", "rows"], "/opt/"),
        (["gate", "rows"], "/"),
        (["rows"], "//lab/x"),
        (["gate"], "/a//b"),
        (["."], "/opt/"),
        (["."], "/"),
        (["."], "/opt"),
        (["odd"], "/"),
    ],
)
def test_names_are_shown_as_tar_shows_those_of_obuilder(
    sources: list[str], destination: str, orchard: Path
) -> None:
    odd = [b"new\nline", b"\xff\xc3\xa9", b'q"\\', b" ", b"\x01\x7f\t\a\b\f\r\v", b"a b'"]
    make_tree(orchard, [(b"odd", "dir", b""), *((b"odd/" + n, "file", b"") for n in odd)])
    files = copy(orchard, sources, destination)
    top = destination.lstrip("/")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as out:
        for source in sources:
            name = top + os.path.basename(source) if files.directory else top
            out.add(orchard / source, arcname=orchard / source, filter=named(orchard, source, name))
    shown = subprocess.run(
        ["tar", "-tf", "-"],
        input=archive.getvalue(),
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout
    ours = b"".join(files.output_lines())
    assert sorted(ours.splitlines()) == sorted(shown.splitlines())
    assert ours.splitlines()[0] == shown.splitlines()[0]


def named(root: Path, source: str, name: str) -> Any:
    """Renames members as OBuilder does: the source's path becomes ``name``."""
    start = str(root / source).lstrip("/")

    def rename(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.name = name + info.name.removeprefix(start)
        return info

    return rename


def test_the_golden_output() -> None:
    files = [File("bell.txt", "0" * 64), File("rope.txt", "1" * 64)]
    with tempfile.TemporaryDirectory() as folder:
        sent = BuildContext(folder).files(tuple(files), "/", ROOT)
        assert b"".join(sent.output_lines()) == b"bell.txt\nrope.txt\n"


# Size and speed


def test_twenty_thousand_members(tmp_path: Path) -> None:
    for n in range(20_000):
        (tmp_path / f"f{n}").write_bytes(b"%d" % n)
    files = copy(tmp_path, ["."], "/x/")
    started = time.process_time()
    size = sum(map(len, files.tar(b"x")))
    taken = time.process_time() - started
    assert size == 512 + 20_000 * 1024
    assert taken < 3  # it takes 0.5 s; this is for a machine in a bad mood


@pytest.mark.slow
def test_five_gigabytes_in_little_memory(tmp_path: Path) -> None:
    """Manifest and stream of a large file stay far below its size; a limit enforces it."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(5 << 30)
    code = """
        import resource, sys
        from obuild.context import BuildContext
        from obuild.ir.ops import UnixUser
        import concurrent.futures.thread, hashlib
        resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))
        context = BuildContext(sys.argv[1])
        manifest = context.manifest("huge", ())
        sent = context.files((manifest,), "/huge", UnixUser(0, 0))
        print(manifest.size, sum(map(len, sent.tar(b"huge"))))
        with open("/proc/self/status") as status:
            print(*(line.split()[1] for line in status if line.startswith("VmHWM")))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    out = subprocess.run(command, text=True, capture_output=True, check=True).stdout.split()
    assert out[:2] == [str(5 << 30), str((5 << 30) + 512)]
    assert int(out[2]) < 64 << 10  # KiB


def test_the_oracle_of_these_tests(orchard: Path) -> None:
    """A stream's digests are those of the manifest, file by file."""
    files = copy(orchard, ["."], "/")
    with tarfile.open(fileobj=io.BytesIO(b"".join(files.tar(b"")))) as archive:
        sent = {
            info.name: sha256(archive.extractfile(info).read()).hexdigest()  # type: ignore[union-attr]
            for info in archive
            if info.isreg()
        }
    top = BuildContext(str(orchard)).manifest(".", ())
    assert sent == digests(top)


def digests(manifest: Manifest) -> dict[str, str]:
    if isinstance(manifest, Dir):
        return {k: v for item in manifest.items for k, v in digests(item).items()}
    return {manifest.path: manifest.digest} if isinstance(manifest, File) else {}


def test_names_survive_the_way_through_strings() -> None:
    name = bytes(range(1, 256))
    assert encode(decode(name)) == name
