"""Trees of files for tests, made from golden entries or from plain descriptions."""

from __future__ import annotations

import base64
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from obuild.ir.manifest import Dir, File, Manifest, Symlink, write_manifest
from obuild.source import decode

__all__ = [
    "NAMES",
    "Entry",
    "Unsupported",
    "digest",
    "machine",
    "make_golden_tree",
    "make_tree",
    "open_files",
    "plain",
    "slow_manifest",
    "trees",
]

Entry = tuple[bytes, str, bytes]  # path, kind (file, script, dir, symlink, fifo, socket), content


def make_golden_tree(root: Path, entries: Iterable[dict[str, Any]]) -> None:
    for entry in entries:
        path = os.path.join(os.fsencode(root), base64.b64decode(entry["path_b64"]))
        kind = entry["type"]
        content = base64.b64decode(entry.get("target_b64") or entry.get("content_b64") or "")
        _make(path, kind, content)
        if kind in ("file", "dir"):
            os.chmod(path, int(entry["mode"], 8))


def make_tree(root: Path, entries: Iterable[Entry]) -> None:
    for name, kind, content in entries:
        _make(os.path.join(os.fsencode(root), name), kind, content)


def _make(path: bytes, kind: str, content: bytes) -> None:
    match kind:
        case "file" | "script":
            with open(path, "xb") as file:
                file.write(content)
            os.chmod(path, 0o744 if kind == "script" else 0o644)
        case "dir":
            os.mkdir(path)
        case "symlink":
            os.symlink(content, path)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path)
        case _:
            raise AssertionError(kind)


def machine(manifest: Manifest) -> str:
    return write_manifest(manifest)


@dataclass(frozen=True)
class Unsupported:
    """The oracle's word for the first thing in a tree that cannot be copied."""

    path: str


def slow_manifest(root: bytes, path: bytes, left_out: frozenset[bytes]) -> Any:
    """An oracle: nested tuples as in a manifest, or ``Unsupported``.

    Written without the code under test: whole paths, whole files, recursion, nothing kept.
    """
    whole = os.path.join(root, path) if path else root
    status = os.lstat(whole)
    name = decode(path)
    if stat.S_ISREG(status.st_mode):
        with open(whole, "rb") as file:
            content = file.read()
        bits = bool(status.st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))
        return ("File", name, sha256(content).hexdigest(), bits, len(content))
    if stat.S_ISLNK(status.st_mode):
        return ("Symlink", name, decode(os.readlink(whole)))
    if not stat.S_ISDIR(status.st_mode):
        return Unsupported(name)
    items = []
    for inside in sorted(n for n in os.listdir(whole) if n not in left_out):
        item = slow_manifest(root, path + b"/" + inside if path else inside, left_out)
        if isinstance(item, Unsupported):
            return item
        items.append(item)
    return ("Dir", name, tuple(items))


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


def digest(manifest: Manifest) -> str:
    assert isinstance(manifest, File)
    return manifest.digest


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
