"""The manifest: what a copy sends, as a value.

Paths are relative to the root of the copy, without ``.`` or empty components; the root
itself is the empty path. The items of a directory stand in the order of their names' bytes.
This is OBuilder's manifest (its ``lib/manifest.ml``), and prints the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from obuild.sexp import Sexp

__all__ = ["Dir", "File", "Manifest", "Symlink", "executables", "manifest_sexp", "walk"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: ``digest`` is the sha256 of its content, 64 hex digits.

    ``executable`` tells whether any x bit is set, ``size`` is in bytes, ``mtime`` in whole
    seconds: OBuilder's manifest has none of them, so they are no part of the identity.
    """

    path: str
    digest: str
    executable: bool = field(default=False, compare=False)
    size: int = field(default=0, compare=False)
    mtime: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Symlink:
    path: str
    target: str
    mtime: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Dir:
    path: str
    items: tuple[Manifest, ...]
    mtime: int = field(default=0, compare=False)


Manifest = File | Symlink | Dir


def manifest_sexp(manifest: Manifest) -> Sexp:
    """``(File (PATH DIGEST))``, ``(Symlink (PATH TARGET))`` or ``(Dir (PATH (ITEM…)))``."""
    match manifest:
        case File():
            return ("File", (manifest.path, manifest.digest))
        case Symlink():
            return ("Symlink", (manifest.path, manifest.target))
        case Dir():
            return ("Dir", (manifest.path, tuple(manifest_sexp(i) for i in manifest.items)))


def walk(manifest: Manifest) -> Iterator[Manifest]:
    """The manifest and all that is in it, a directory before its items."""
    yield manifest
    if isinstance(manifest, Dir):
        for item in manifest.items:
            yield from walk(item)


def executables(manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    """The paths of all files with an x bit, sorted by their bytes."""
    found = {
        m.path for root in manifests for m in walk(root) if isinstance(m, File) and m.executable
    }
    return tuple(sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape")))
