"""Reading a manifest that a program in a guest wrote. Nothing in it is taken on trust."""

from __future__ import annotations

import re

from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink
from obuild.sexp.escapes import Malformed, unescape
from obuild.source import encode

__all__ = ["read_manifest"]

_ATOM = rb'(?:"((?:[^"\\\n]|\\[^\n])*+)"|([^ ()";\\\x00-\x1f\x7f-\xff]++) ?)'
_NODE = re.compile(rb"\((?:(File|Symlink)\(" + _ATOM + _ATOM + rb"|(Dir)\(" + _ATOM + rb"\()")
_ATTRIBUTES = re.compile(rb"\(([0-7]{4}) ([0-9]{1,10}) ([0-9]{1,10})\)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_ID = 2**32 - 1


class _Open:
    """A folder of which the items are being read."""

    __slots__ = ("items", "last", "path")

    def __init__(self, path: str):
        self.path = path
        self.items: list[Manifest] = []
        self.last = b""


def read_manifest(line: bytes) -> Manifest:
    """The manifest that ``line`` says in the machine form, with or without attributes.

    Raises ``ValueError`` with the reason for anything that ``write_manifest`` would not have
    written of a real tree: other forms, digests or modes that are none, items that do not
    stand directly below their folder, in another order than that of their bytes, or twice.
    """
    at, open_folders = 0, list[_Open]()
    done: Manifest | None = None
    while done is None or open_folders:
        if open_folders and line[at : at + 1] == b")":
            folder = open_folders.pop()
            attributes, at = _end(line, at + 1)
            done = Dir(folder.path, tuple(folder.items), attributes=attributes)
        else:
            found = _NODE.match(line, at)
            if found is None:
                raise ValueError(f"no file, link or folder at byte {at}")
            at = found.end()
            if found[6] is not None:
                path = _text(found[7], found[8])
                _check_path(path, open_folders)
                open_folders.append(_Open(path))
                continue
            path, other = _text(found[2], found[3]), _text(found[4], found[5])
            _check_path(path, open_folders)
            attributes, at = _end(line, at)
            done = _leaf(found[1], path, other, attributes)
        if open_folders:
            open_folders[-1].items.append(done)
    if at != len(line):
        raise ValueError(f"more than one manifest: byte {at}")
    return done


def _leaf(kind: bytes, path: str, other: str, attributes: Attributes | None) -> Manifest:
    if not path:
        raise ValueError("a file or a link without a name")
    if kind == b"Symlink":
        if "\0" in other or not other:
            raise ValueError(f"a link target that none can have, at {path!r}")
        return Symlink(path, other, attributes=attributes)
    if not _DIGEST.fullmatch(other):
        raise ValueError(f"no digest at {path!r}")
    return File(path, other, bool(attributes and attributes.mode & 0o111), attributes=attributes)


def _text(quoted: bytes | None, plain: bytes | None) -> str:
    if quoted is None:
        return (plain or b"").decode("ascii")
    try:
        return unescape(quoted, 0)
    except Malformed as error:
        raise ValueError(str(error)) from error


def _end(line: bytes, at: int) -> tuple[Attributes | None, int]:
    """The attributes, if there are any, and the end of the node."""
    attributes = None
    found = _ATTRIBUTES.match(line, at)
    if found is not None:
        mode, uid, gid = int(found[1], 8), int(found[2]), int(found[3])
        if uid > _MAX_ID or gid > _MAX_ID:
            raise ValueError(f"no owner has such a number: {uid}:{gid}")
        attributes, at = Attributes(mode, uid, gid), found.end()
    if line[at : at + 2] != b"))":
        raise ValueError(f"a node does not end at byte {at}")
    return attributes, at + 2


def _check_path(path: str, around: list[_Open]) -> None:
    """A path stands directly below its folder, after the items before it."""
    if "\0" in path:
        raise ValueError("a name with a NUL")
    if not around:
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"{path!r} is no clean path")
        return
    folder = around[-1]
    prefix = f"{folder.path}/" if folder.path else ""
    name = path.removeprefix(prefix)
    if not path.startswith(prefix) or "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{path!r} does not stand in the folder {folder.path!r}")
    key = encode(name)
    if key <= folder.last:
        raise ValueError(f"{path!r} stands in the wrong place, or twice")
    folder.last = key
