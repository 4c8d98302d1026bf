"""Directories of a tree that is being unpacked, entered one below the other.

Each is opened relative to the one above it and never through a link, so nothing outside the
root can be reached. A link on the way is refused, or resolved here, name by name.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import Self

from obuild.layers.errors import ArchiveError, show
from obuild.layers.extraction import Links
from obuild.layers.members import Member

__all__ = ["Folders", "Node", "Parts", "is_whiteout", "split"]

_ENTER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH | os.O_CLOEXEC
_KEPT_OPEN = 64
_CLOSED = -1
_HOPS = 40  # links on one way, as in the kernel

Parts = tuple[bytes, ...]


class Node:
    """A directory of the tree. ``children``: what the archive put into it, a node for each
    directory and None for anything else. ``made``: it was not there before."""

    __slots__ = ("children", "made", "member", "opaque")

    def __init__(self, *, made: bool):
        self.children: dict[bytes, Node | None] = {}
        self.made = made
        self.member: Member | None = None
        self.opaque = False


def split(name: bytes) -> Parts:
    """The parts of a member's name below the root: leading slashes are nothing, and ``..``
    takes a part away, as in Docker. Raises ``ArchiveError`` if that leads above the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ArchiveError(
                    f"the archive wants to write outside of its tree: {show(name)}",
                    hint="such an archive is an attack, or broken: do not use it",
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether it is overlayfs's mark of something that is gone: the character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Folders:
    """The directories on the way to the one in use; close by leaving the ``with`` block.

    ``whiteouts``: a mark of overlayfs on the way is replaced by a directory.
    """

    def __init__(self, root: int, links: Links, depth: int, *, whiteouts: bool):
        self._links = links
        self._depth = depth
        self._whiteouts = whiteouts
        self._names: list[bytes] = []
        self._fds = [os.open(b".", _ENTER, dir_fd=root)]
        self._nodes = [Node(made=False)]

    @property
    def fd(self) -> int:
        """The directory in use; valid until another is entered."""
        return self._fds[-1]

    @property
    def node(self) -> Node:
        return self._nodes[-1]

    @property
    def parts(self) -> Parts:
        """The way to it, without links."""
        return tuple(self._names)

    def enter(self, parts: Parts, *, make: bool = True) -> None:
        """Go to a directory of the tree. Where it is missing it is made, unless ``make`` is
        False. Raises ``OSError``, and ``ArchiveError`` for what is in the way."""
        if len(parts) > self._depth:
            raise ArchiveError(
                f"the archive has {len(parts)} directories one below the other;"
                f" {self._depth} are the most"
            )
        same = 0
        for name, part in zip(self._names, parts, strict=False):
            if name != part:
                break
            same += 1
        self._ascend(same)
        todo = list(reversed(parts[same:]))
        hops = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                self._ascend(max(len(self._names) - 1, 0))
            elif part not in (b"", b"."):
                target = self._step(part, make)
                if target is not None:
                    hops += 1
                    if hops > _HOPS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if target.startswith(b"/"):
                        self._ascend(0)
                    todo.extend(reversed(target.split(b"/")))

    def leave_all(self) -> None:
        """Go to the root: a directory was removed, perhaps one on the way."""
        self._ascend(0)

    def below(self) -> list[tuple[Parts, Node]]:
        """All directories that were in use, each after those in it."""
        found: list[tuple[Parts, Node]] = []
        todo: list[tuple[Parts, Node]] = [((), self._nodes[0])]
        while todo:
            parts, node = todo.pop()
            found.append((parts, node))
            for name, child in node.children.items():
                if child is not None:
                    todo.append(((*parts, name), child))
        found.reverse()
        return found

    def _step(self, part: bytes, make: bool) -> bytes | None:
        """Into the directory ``part``. If it is a link, where that leads."""
        try:
            self._push(part)
            return None
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            status = os.stat(part, dir_fd=self.fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self._followed(part)
            if not (make and self._whiteouts and is_whiteout(status)):
                raise
            os.unlink(part, dir_fd=self.fd)
            self.node.children[part] = hidden = Node(made=True)
            hidden.opaque = True
        os.mkdir(part, 0o700, dir_fd=self.fd)
        if self.node.children.get(part) is None:
            self.node.children[part] = Node(made=True)
        self._push(part)
        return None

    def _followed(self, part: bytes) -> bytes:
        if self._links is Links.REFUSED:
            way = show(b"/".join((*self._names, part)))
            raise ArchiveError(
                f"the archive writes through the link {way}",
                hint="such an archive is an attack, or broken: do not use it",
            )
        return os.readlink(part, dir_fd=self.fd)

    def _push(self, part: bytes) -> None:
        fd = os.open(part, _ENTER, dir_fd=self._fds[-1])
        node = self._nodes[-1].children.get(part)
        if node is None:
            self._nodes[-1].children[part] = node = Node(made=False)
        self._fds.append(fd)
        self._names.append(part)
        self._nodes.append(node)
        far = len(self._fds) - 1 - _KEPT_OPEN
        if far > 0 and self._fds[far] != _CLOSED:
            os.close(self._fds[far])
            self._fds[far] = _CLOSED

    def _ascend(self, depth: int) -> None:
        """Up to the directory of so many names, which is opened again if it was closed."""
        again: list[bytes] = []
        while len(self._names) > depth or self._fds[-1] == _CLOSED:
            fd = self._fds.pop()
            if fd != _CLOSED:
                os.close(fd)
            name = self._names.pop()
            self._nodes.pop()
            if len(self._names) < depth:
                again.append(name)
        while again:
            self._push(again.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in self._fds:
            if fd != _CLOSED:
                os.close(fd)
