"""Manifests as flat lists, for the way between two processes of obuild.

A tree of any depth: items in the order in which a folder comes before what is in it, each
with the number of items that it has.
"""

from __future__ import annotations

from typing import Any

from obuild.context.placing import preorder
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink

__all__ = ["packed", "unpacked"]


def packed(top: Manifest) -> list[list[Any]]:
    return [_row(item) for item in preorder(top)]


def unpacked(rows: list[list[Any]]) -> Manifest:
    """The manifest whose rows these are."""
    done: list[Manifest] = []
    for kind, path, mtime, attributes, *rest in reversed(rows):
        its = None if attributes is None else Attributes(*attributes)
        if kind == "file":
            digest, executable, size = rest
            done.append(File(path, digest, executable, size, mtime, its))
        elif kind == "link":
            done.append(Symlink(path, rest[0], mtime, its))
        else:
            items = tuple(done.pop() for _ in range(rest[0]))
            done.append(Dir(path, items, mtime, its))
    return done.pop()


def _row(item: Manifest) -> list[Any]:
    its = item.attributes
    common = [item.path, item.mtime, None if its is None else [its.mode, its.uid, its.gid]]
    match item:
        case File():
            return ["file", *common, item.digest, item.executable, item.size]
        case Symlink():
            return ["link", *common, item.target]
        case Dir():
            return ["dir", *common, len(item.items)]
