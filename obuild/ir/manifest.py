"""The manifest: what a copy sends, as a value.

Paths are relative to the root of the copy, without ``.`` or empty components; the root
itself is the empty path. The items of a directory stand in the order of their names' bytes.
This is OBuilder's manifest (its ``lib/manifest.ml``), and prints the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from obuild.sexp import Written, write_atom
from obuild.values import Value, field

__all__ = [
    "Attributes",
    "Dir",
    "File",
    "Manifest",
    "Symlink",
    "executables",
    "walk",
    "write_manifest",
]


class Attributes(Value):
    """Mode bits (setuid, setgid and sticky ones too), owner and group by number."""

    mode: int
    uid: int
    gid: int


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
    attributes: Attributes | None = field(default=None, compare=False)


class Symlink(Value):
    path: str
    target: str
    mtime: int = field(default=0, compare=False)
    attributes: Attributes | None = field(default=None, compare=False)


class Dir(Value):
    path: str
    items: tuple[Manifest, ...]
    mtime: int = field(default=0, compare=False)
    attributes: Attributes | None = field(default=None, compare=False)


Manifest = File | Symlink | Dir


def write_manifest(manifest: Manifest, *, attributes: bool = False) -> Written:
    """``(File (PATH DIGEST))``, ``(Symlink (PATH TARGET))`` or ``(Dir (PATH (ITEM…)))``, in
    the machine form.

    With ``attributes`` each has a third element, ``(MODE UID GID)``, the mode in four octal
    digits; then every node must have them.
    """
    # A tree may have many thousand files, and be deeper than the stack allows.
    pieces: list[str] = []
    todo: list[Manifest | str] = [manifest]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            pieces.append(node)
            continue
        extra = _written(node.attributes) if attributes else ""
        match node:
            case File(path=path, digest=digest):
                pieces.append(f"(File({_pair(path, digest)}{extra}))")
            case Symlink(path=path, target=target):
                pieces.append(f"(Symlink({_pair(path, target)}{extra}))")
            case Dir(path=path, items=items):
                pieces.append(f"(Dir({write_atom(path)}(")
                todo.append(f"){extra}))")
                todo.extend(reversed(items))
    return Written("".join(pieces))


def _written(attributes: Attributes | None) -> str:
    if attributes is None:
        raise ValueError("this manifest was made without attributes")
    return f"({attributes.mode:04o} {attributes.uid} {attributes.gid})"


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
