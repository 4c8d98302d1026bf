"""The manifest: what a copy sends, as a value.

Paths are relative to the root of the copy, without ``.`` or empty components; the root
itself is the empty path. The items of a directory stand in the order of their names' bytes.
This is OBuilder's manifest (its ``lib/manifest.ml``), and prints the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from obuild.sexp import Written, write_atom
from obuild.values import Value, field

__all__ = ["Dir", "File", "Manifest", "Symlink", "executables", "walk", "write_manifest"]


class File(Value):
    """A regular file: ``digest`` is the sha256 of its content, 64 hex digits.

    ``executable`` tells whether any x bit is set, ``size`` is in bytes, ``mtime`` in whole
    seconds: OBuilder's manifest has none of them, so they are no part of the identity.
    """

    path: str
    digest: str
    executable: bool = field(default=False, compare=False)
    size: int = field(default=0, compare=False)
    mtime: int = field(default=0, compare=False)


class Symlink(Value):
    path: str
    target: str
    mtime: int = field(default=0, compare=False)


class Dir(Value):
    path: str
    items: tuple[Manifest, ...]
    mtime: int = field(default=0, compare=False)


Manifest = File | Symlink | Dir


def write_manifest(manifest: Manifest) -> Written:
    """``(File (PATH DIGEST))``, ``(Symlink (PATH TARGET))`` or ``(Dir (PATH (ITEM…)))``, in
    the machine form."""
    # A tree may have many thousand files, and be deeper than the stack allows.
    pieces: list[str] = []
    todo: list[Manifest | None] = [manifest]
    while todo:
        node = todo.pop()
        match node:
            case None:
                pieces.append(")))")
            case File(path=path, digest=digest):
                pieces.append(f"(File({_pair(path, digest)}))")
            case Symlink(path=path, target=target):
                pieces.append(f"(Symlink({_pair(path, target)}))")
            case Dir(path=path, items=items):
                pieces.append(f"(Dir({write_atom(path)}(")
                todo.append(None)
                todo.extend(reversed(items))
    return Written("".join(pieces))


def _pair(one: str, other: str) -> str:
    """Two atoms: a blank stands between them if both are without quotes."""
    first, second = write_atom(one), write_atom(other)
    return f"{first}{second}" if '"' in (first[0], second[0]) else f"{first} {second}"


def walk(manifest: Manifest) -> Iterator[Manifest]:
    """The manifest and all that is in it, a directory before its items."""
    todo: list[Manifest] = [manifest]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, Dir):
            todo.extend(reversed(node.items))


def executables(manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    """The paths of all files with an x bit, sorted by their bytes."""
    found = {
        m.path for root in manifests for m in walk(root) if isinstance(m, File) and m.executable
    }
    return tuple(sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape")))
