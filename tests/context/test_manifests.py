"""Manifests of many kinds of trees, the stat cache, and what happens when a tree changes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.context import BuildContext, StatKey, manifests
from obuild.context.folders import Folders
from obuild.errors import SourceError
from obuild.ir.manifest import Dir, File, Manifest, Symlink
from obuild.ir.ops import UnixUser
from obuild.sexp import quote
from obuild.source import decode
from tests.context.trees import Entry, Unsupported, make_tree, slow_manifest

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"skip", b"lib", b"lib.c", b"lib-", b"\xff", b"\xc3\xa9", b"~"]),
    st.binary(min_size=1, max_size=12),
).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b".."))


@st.composite
def trees(draw: st.DrawFn, special: bool = True) -> list[Entry]:
    """Entries of a tree, parents first, every kind of file among them."""
    kinds = ["file", "script", "dir", "dir", "symlink", "fifo" if special else "file"]
    folders = [b""]
    entries: dict[bytes, Entry] = {}
    for _ in range(draw(st.integers(0, 12))):
        folder = draw(st.sampled_from(folders))
        path = folder + draw(NAMES)
        if path in entries or path + b"/" in folders:
            continue
        kind = draw(st.sampled_from(kinds))
        content = draw(st.binary(max_size=40))
        if kind == "symlink":
            content = content.replace(b"\0", b"") or b"x"
        if kind == "dir":
            folders.append(path + b"/")
        entries[path] = (path, kind, content)
    return list(entries.values())


def plain(manifest: Manifest) -> Any:
    """The manifest as the oracle's tuples."""
    match manifest:
        case File():
            return (
                "File",
                manifest.path,
                manifest.digest,
                manifest.executable,
                manifest.size,
            )
        case Symlink():
            return ("Symlink", manifest.path, manifest.target)
        case Dir():
            return ("Dir", manifest.path, tuple(map(plain, manifest.items)))


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


# The stat cache


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


def digest(manifest: Manifest) -> str:
    assert isinstance(manifest, File)
    return manifest.digest


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


# Trees that change while they are looked at


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


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


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


# Files that may not be read


def as_nobody(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as a user without rights, also where the tests run as root.

    Everything is imported first: the code may lie where that user cannot read.
    """
    start = """
        import os, sys
        from obuild.context import BuildContext, manifests
        from obuild.errors import ContextError, SourceError
        import hashlib, encodings.idna
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        def refused(root, source):
            try:
                return BuildContext(root).manifest(source, ())
            except (ContextError, SourceError) as error:
                return f"{type(error).__name__}: {error.message} / {error.hint}"
    """
    whole = textwrap.dedent(start) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", whole, *args], text=True, capture_output=True, check=True
    )


@pytest.fixture
def open_tree() -> Iterator[Path]:
    """A context in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        make_tree(
            Path(folder),
            [(b"shut", "dir", b""), (b"shut/in", "file", b"x"), (b"f", "file", b"y")],
        )
        yield Path(folder)
        (Path(folder) / "shut").chmod(0o755)


def test_what_may_not_be_read_is_named(open_tree: Path) -> None:
    (open_tree / "f").chmod(0)
    (open_tree / "shut").chmod(0)
    code = "print(refused(sys.argv[1], 'f')); print(refused(sys.argv[1], 'shut'))"
    file, folder = as_nobody(code, str(open_tree)).stdout.splitlines()
    assert file.startswith('SourceError: Cannot read "f": Permission denied / Make it readable')
    assert "(exclude f)" in file
    assert folder.startswith('SourceError: Cannot read "shut": Permission denied')


def test_a_folder_that_may_only_be_entered(open_tree: Path) -> None:
    """As in OBuilder, a file can be copied out of a folder that cannot be listed."""
    (open_tree / "shut").chmod(0o711)
    code = "print(refused(sys.argv[1], 'shut/in').digest); print(refused(sys.argv[1], 'shut'))"
    file, folder = as_nobody(code, str(open_tree)).stdout.splitlines()
    assert file == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert folder.startswith('SourceError: Cannot read "shut": Permission denied')


@pytest.mark.parametrize("mode", [0o000, 0o711, 0o744])
def test_a_context_that_may_not_be_read(mode: int, open_tree: Path) -> None:
    (open_tree / "shut").chmod(mode)
    out = as_nobody("print(refused(sys.argv[1], 'in'))", str(open_tree / "shut")).stdout
    assert out.startswith("ContextError: Cannot read the build context ")
    assert "Permission denied" in out


# Size and speed


def test_twenty_thousand_files_in_one_folder(tmp_path: Path) -> None:
    for n in range(20_000):
        (tmp_path / f"f{n}").write_bytes(b"%d" % n)
    _, context = cached(tmp_path)
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
