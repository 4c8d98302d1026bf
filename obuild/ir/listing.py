"""Reading a manifest that a program in a guest wrote. Nothing in it is taken on trust."""

from __future__ import annotations

import re

from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink, write_manifest
from obuild.sexp.escapes import Malformed, unescape
from obuild.source import encode

__all__ = ["read_manifest"]

_ATOM = rb'(?:"((?:[^"\\]|\\.)*+)"|([^ ()";\\\x00-\x1f\x7f-\xff]++))'
_ATTRIBUTES = rb"(\([0-7]{4} [0-9]{1,10} [0-9]{1,10}\))?"
_PIECE = re.compile(
    rb"\((File|Symlink)\(" + _ATOM + rb" ?" + _ATOM + _ATTRIBUTES + rb"\)\)"
    rb"|\((Dir)\(" + _ATOM + rb"\("
    rb"|\)" + _ATTRIBUTES + rb"\)\)"
)
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_MAX_ID = 2**32 - 1


class _Open:
    """A folder of which the items are being read."""

    __slots__ = ("items", "last", "path", "prefix")

    def __init__(self, path: str):
        self.path = path
        self.prefix = f"{path}/" if path else ""
        self.items: list[Manifest] = []
        self.last = b""


def read_manifest(line: bytes) -> Manifest:
    """The manifest that ``line`` says in the machine form, with or without attributes.

    Raises ``ValueError`` with the reason for anything that ``write_manifest`` would not have
    written of a real tree: other forms, digests or owners that are none, attributes of some
    nodes only, items that do not stand directly below their folder, in another order than that
    of their bytes, or twice. Takes time in proportion to the line, however deep the tree.
    """
    around: list[_Open] = []
    owners: dict[bytes | None, Attributes | None] = {None: None}
    at, made = 0, None
    while made is None or around:
        found = _PIECE.match(line, at)
        if found is None:
            raise ValueError(f"no part of a manifest at byte {at}")
        at = found.end()
        kind, quoted, plain, quoted_2, plain_2, owner, folder, quoted_3, plain_3, owner_2 = (
            found.groups()
        )
        if folder is not None:
            path = plain_3.decode() if quoted_3 is None else _unescaped(quoted_3)
            _check(path, around)
            around.append(_Open(path))
            continue
        if kind is not None:
            path = plain.decode() if quoted is None else _unescaped(quoted)
            other = plain_2.decode() if quoted_2 is None else _unescaped(quoted_2)
            _check(path, around)
            made = _leaf(kind, path, other, _attributes(owner, owners))
        elif around:
            done = around.pop()
            attributes = _attributes(owner_2, owners)
            made = Dir(done.path, tuple(done.items), attributes=attributes)
        else:
            raise ValueError("a folder ends where none began")
        if around:
            around[-1].items.append(made)
    if at != len(line):
        raise ValueError(f"something stands behind the manifest: byte {at}")
    # One value has one form: blanks, quotes, escapes and zeros are held to it, too.
    if write_manifest(made, attributes=made.attributes is not None).encode() != line:
        raise ValueError("it is not in the machine form")
    return made


def _leaf(kind: bytes, path: str, other: str, attributes: Attributes | None) -> Manifest:
    if not path:
        raise ValueError("a file or a link without a name")
    if kind == b"File":
        if not _DIGEST(other):
            raise ValueError(f"no digest at {path!r}")
        executable = attributes is not None and bool(attributes.mode & 0o111)
        return File(path, other, executable, attributes=attributes)
    if not other or "\0" in other:
        raise ValueError(f"a link target that none can have, at {path!r}")
    return Symlink(path, other, attributes=attributes)


def _unescaped(quoted: bytes) -> str:
    try:
        return unescape(quoted, 0)
    except Malformed as error:
        raise ValueError(str(error)) from error


def _attributes(
    text: bytes | None, known: dict[bytes | None, Attributes | None]
) -> Attributes | None:
    """The value of ``(MODE UID GID)``; ``known`` has those met before, which are few."""
    if text in known:
        return known[text]
    assert text is not None
    mode, uid, gid = text[1:-1].split()
    made = Attributes(int(mode, 8), int(uid), int(gid))
    if max(made.uid, made.gid) > _MAX_ID:
        raise ValueError(f"no owner has such a number: {made.uid}:{made.gid}")
    known[text] = made
    return made


def _check(path: str, around: list[_Open]) -> None:
    """A path stands directly below its folder, after the items before it."""
    if "\0" in path:
        raise ValueError("a name with a NUL")
    if not around:
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"{path!r} is no clean path")
        return
    folder = around[-1]
    name = path[len(folder.prefix) :]
    if not path.startswith(folder.prefix) or "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{path!r} does not stand in the folder {folder.path!r}")
    key = encode(name)
    if key <= folder.last:
        raise ValueError(f"{path!r} stands in the wrong place, or twice")
    folder.last = key
