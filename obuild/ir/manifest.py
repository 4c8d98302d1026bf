"""The manifest: what a copy sends, as a value.

Paths are relative to the root of the copy, without ``.`` or empty components; the root
itself is the empty path. The items of a directory stand in the order of their names' bytes.
This is OBuilder's manifest (its ``lib/manifest.ml``), and prints the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from obuild.sexp import Sexp
from obuild.values import Value, field

__all__ = ["Dir", "File", "Manifest", "Symlink", "executables", "manifest_sexp", "walk"]


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


def manifest_sexp(manifest: Manifest) -> Sexp:
    """``(File (PATH DIGEST))``, ``(Symlink (PATH TARGET))`` or ``(Dir (PATH (ITEM…)))``."""
    # Trees may be deeper than the stack allows: post-order over a stack of our own.
    done: list[list[Sexp]] = [[]]
    todo: list[tuple[Manifest, bool]] = [(manifest, False)]
    while todo:
        node, finished = todo.pop()
        match node:
            case File(path=path, digest=digest):
                done[-1].append(("File", (path, digest)))
            case Symlink(path=path, target=target):
                done[-1].append(("Symlink", (path, target)))
            case Dir(path=path) if finished:
                items = tuple(done.pop())
                done[-1].append(("Dir", (path, items)))
            case Dir(items=inner):
                done.append([])
                todo.append((node, True))
                todo.extend((item, False) for item in reversed(inner))
    return done[0][0]


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
