"""What an archive says is gone (OCI image spec, "Whiteouts").

A mark speaks of the layers below only: what the same archive put under that name stays,
whichever came first.
"""

from __future__ import annotations

import errno
import os
import stat

from obuild.layers.errors import ArchiveError, show
from obuild.layers.extraction import Whiteouts
from obuild.layers.folders import Folders, Node, Parts
from obuild.layers.remove import remove

__all__ = ["MARK", "OPAQUE", "Marks", "refuse_name"]

MARK = b".wh."
OPAQUE = b".wh..wh..opq"
_FOREIGN = b".wh..wh."
"""What AUFS kept in directories of its own; Docker does not unpack it either."""
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Marks:
    """Makes overlayfs's marks in the directory in use, or removes what is marked."""

    def __init__(self, folders: Folders, mode: Whiteouts):
        self._folders = folders
        self._overlay = mode is Whiteouts.OVERLAY

    def make(self, base: bytes) -> bool:
        """For a member called ``base``; whether another directory is in use now."""
        folders = self._folders
        if base == OPAQUE:
            folders.node.opaque = True
            return not self._overlay and self._purge(folders.parts, folders.node, marked=False)
        if base.startswith(_FOREIGN):
            return False
        name = base.removeprefix(MARK)
        if name in (b"", b".", b".."):
            raise ArchiveError(
                f"the archive has a mark called {show(base)}, which marks no file",
                hint="such an archive is an attack, or broken: do not use it",
            )
        return self._hide(name) if self._overlay else self._remove(name)

    def _hide(self, name: bytes) -> bool:
        folders = self._folders
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=folders.fd)
        except FileExistsError:
            node = folders.node.children.get(name)
            if node is not None:
                node.opaque = True
        return False

    def _remove(self, name: bytes) -> bool:
        folders = self._folders
        if name not in folders.node.children:
            remove(name, folders.fd)
            return False
        node = folders.node.children[name]
        if node is None or node.made:
            return False
        return self._purge((*folders.parts, name), node, marked=True)

    def _purge(self, parts: Parts, node: Node, *, marked: bool) -> bool:
        """Remove all below a directory that the archive did not put there; ``marked``: and
        itself, unless something of the archive is in it."""
        todo = [(parts, node)]
        old = [parts] if marked and node.member is None else []
        while todo:
            parts, node = todo.pop()
            self._folders.enter(parts, make=False)
            fd = os.open(b".", _LIST, dir_fd=self._folders.fd)
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    if name not in node.children:
                        remove(name, fd)
                    elif (child := node.children[name]) is not None and not child.made:
                        todo.append(((*parts, name), child))
                        if child.member is None:
                            old.append((*parts, name))
            finally:
                os.close(fd)
        for parts in reversed(old):
            self._remove_empty(parts)
        return True

    def _remove_empty(self, parts: Parts) -> None:
        """Remove a directory that was only passed through, if nothing is in it."""
        self._folders.enter(parts[:-1], make=False)
        try:
            os.rmdir(parts[-1], dir_fd=self._folders.fd)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            del self._folders.node.children[parts[-1]]


def refuse_name(name: bytes) -> None:
    """Raises ``ArchiveError``: a plain tree has a file that a layer would take for a mark."""
    raise ArchiveError(
        f"no image can hold a file called {show(name)}: such a name marks a file as gone",
        hint="leave it out of the copy, or give it another name",
    )
