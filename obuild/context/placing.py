"""Where the files of a copy land: the member names of its tar stream, and their display."""

from __future__ import annotations

from collections.abc import Iterator

from obuild.errors import ScriptError
from obuild.ir.manifest import Dir, Manifest
from obuild.ir.ops import UnixUser, User
from obuild.source import encode

__all__ = ["display", "owner_of", "place", "preorder"]

_MAX_ID = 2**32 - 2  # Linux: 32 bits, and the last value means "no change"

_ESCAPES = {
    **{code: f"\\{code:03o}" for code in (*range(32), *range(127, 256))},
    **{ord(c): f"\\{e}" for c, e in zip("\a\b\f\n\r\t\v\\", "abfnrtv\\", strict=True)},
}


def preorder(top: Manifest) -> Iterator[Manifest]:
    """``top`` and all that is in it, a directory before its items, however deep."""
    todo = [top]
    while todo:
        item = todo.pop()
        yield item
        if isinstance(item, Dir):
            todo.extend(reversed(item.items))


def place(top: Manifest, target: bytes) -> Iterator[tuple[Manifest, bytes]]:
    """Each item of ``top`` with its name when ``top`` itself is called ``target``.

    An empty target is the root of the guest: the names below it have no slash before them.
    """
    prefix = len(top.path)
    for item in preorder(top):
        below = encode(item.path[prefix:]).removeprefix(b"/")
        yield item, target + b"/" + below if below and target else target + below


def display(name: bytes) -> bytes:
    """A member's name as GNU tar lists it: one line of printable ASCII.

    What does not print, and every byte that is not ASCII, stands as a C escape.
    """
    return name.decode("latin-1").translate(_ESCAPES).encode("ascii")


def owner_of(user: User) -> tuple[int, int]:
    """Uid and gid of the files of a copy; 0:0 for a user by name. Raises ``ScriptError`` for
    a number that no system has."""
    if not isinstance(user, UnixUser):
        return 0, 0
    for number in (user.uid, user.gid):
        if not 0 <= number <= _MAX_ID:
            raise ScriptError(
                f"No user or group has the number {number}",
                hint=f"Numbers of users and groups go from 0 to {_MAX_ID}.",
            )
    return user.uid, user.gid
