"""What a copy from the context puts into a guest, as a tar stream made while it is sent."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from obuild.context import refusals
from obuild.context.folders import Folders, open_file
from obuild.context.headers import (
    DIRECTORY,
    REGULAR,
    SYMLINK,
    gather,
    header,
    header_length,
    padding,
)
from obuild.context.placing import display, place, preorder
from obuild.errors import SourceError
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink
from obuild.source import encode

__all__ = ["ContextFiles"]

_CHUNK = 1 << 19


class ContextFiles:
    """The files of one copy. ``directory`` tells whether they go into the destination, each
    under its own name, or the one there is becomes the destination itself."""

    directory: bool

    def __init__(
        self,
        open_folders: Callable[[], Folders],
        manifests: tuple[Manifest, ...],
        destination: str,
        owner: tuple[int, int],
    ):
        self.directory = destination.endswith("/")
        if not self.directory and len(manifests) != 1:
            raise ValueError("several sources need a destination that ends in a slash")
        self._open_folders = open_folders
        self._manifests = manifests
        self._destination = destination
        self._owner = owner

    def count(self) -> int:
        """The number of members: files, links and directories."""
        return sum(1 for top in self._manifests for _ in preorder(top))

    def size(self) -> int:
        """The bytes of all files together."""
        items = (item for top in self._manifests for item in preorder(top))
        return sum(item.size for item in items if isinstance(item, File))

    def names(self, root: bytes) -> Iterator[bytes]:
        """The names of the members of ``tar(root)``."""
        return (name for _, name in self._placed(root))

    def length(self, root: bytes) -> int:
        """The bytes of ``tar(root)``."""
        total = 0
        for item, name in self._placed(root):
            size = item.size if isinstance(item, File) else 0
            target = encode(item.target) if isinstance(item, Symlink) else b""
            written = len(name or b".") + 1 if isinstance(item, Dir) else len(name)
            total += header_length(written, len(target)) + size + len(padding(size))
        return total

    def tar(self, root: bytes) -> Iterator[bytes]:
        """A tar stream with everything below ``root``, a guest path without slashes at its
        ends (empty: the guest's root), in chunks under 1 MiB, without the closing blocks.

        Equal manifests, destinations, owners and times give equal streams. Of two sources
        with one name both are sent, so the later one stays. A directory copied onto ``root``
        has a member for ``root`` itself, ``./`` for the guest's root.

        Raises ``SourceError``, possibly after most of the stream, if a file is not the
        manifest's any more: every byte is hashed as it passes.
        """
        with self._open_folders() as folders:
            yield from gather(self._members(folders, root))

    def output_lines(self) -> Iterator[bytes]:
        """A line for each member, as GNU tar prints its name when it unpacks OBuilder's
        archive of the same copy: without leading slashes, and nothing else tidied."""
        destination = encode(self._destination).lstrip(b"/")
        for top in self._manifests:
            # OBuilder's name of the context itself is the base name of nothing, a dot.
            name = encode(top.path.rpartition("/")[2] or ".")
            target = destination + name if self.directory else destination
            for item, below in place(top, target):
                yield display(below) + (b"/\n" if isinstance(item, Dir) else b"\n")

    def _members(self, folders: Folders, root: bytes) -> Iterator[bytes]:
        for item, name in self._placed(root):
            yield from self._member(folders, item, name)

    def _placed(self, root: bytes) -> Iterator[tuple[Manifest, bytes]]:
        for top in self._manifests:
            yield from place(top, self._target(root, encode(top.path.rpartition("/")[2])))

    def _target(self, root: bytes, name: bytes) -> bytes:
        if not self.directory:
            return root
        return root + b"/" + name if root and name else root + name

    def _member(self, folders: Folders, item: Manifest, name: bytes) -> Iterator[bytes]:
        uid, gid = self._owner
        if not name and not isinstance(item, Dir):
            raise SourceError(
                f"{refusals.show(item.path)} cannot become the root of the guest",
                hint="Give the destination a name, or a slash at its end.",
            )
        match item:
            case Dir():
                _check_folder(folders, item)
                attributes = Attributes(0o755, uid, gid)
                yield header((name or b".") + b"/", DIRECTORY, attributes, mtime=item.mtime)
            case Symlink():
                _check_link(folders, item)
                attributes, target = Attributes(0o777, uid, gid), encode(item.target)
                yield header(name, SYMLINK, attributes, mtime=item.mtime, target=target)
            case File():
                attributes = Attributes(0o755 if item.executable else 0o644, uid, gid)
                yield header(name, REGULAR, attributes, mtime=item.mtime, size=item.size)
                yield from _content(folders, item)
                yield padding(item.size)


def _check_folder(folders: Folders, item: Dir) -> None:
    try:
        folders.folder(item.path)
    except OSError as error:
        raise _trouble(item.path, error) from error


def _check_link(folders: Folders, item: Symlink) -> None:
    parent, _, name = item.path.rpartition("/")
    try:
        target = os.readlink(encode(name), dir_fd=folders.folder(parent))
    except OSError as error:
        raise _trouble(item.path, error) from error
    if target != encode(item.target):
        raise refusals.changed(item.path, "sent")


def _content(folders: Folders, item: File) -> Iterator[bytes]:
    """The bytes of the file, which must be those of the manifest; else ``SourceError``."""
    from hashlib import sha256

    parent, _, name = item.path.rpartition("/")
    digest = sha256()
    left = item.size
    try:
        fd = open_file(encode(name), folders.folder(parent))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise refusals.changed(item.path, "sent")
            # One byte more is asked for, to see that the file ends where it should.
            while chunk := os.read(fd, min(left + 1, _CHUNK)):
                left -= len(chunk)
                if left < 0:
                    raise refusals.changed(item.path, "sent")
                digest.update(chunk)
                yield chunk
        finally:
            os.close(fd)
    except OSError as error:
        raise _trouble(item.path, error) from error
    if left or digest.hexdigest() != item.digest:
        raise refusals.changed(item.path, "sent")


def _trouble(path: str, error: OSError) -> SourceError:
    """What it means that something in the manifest cannot be read when it is sent."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO):
        return refusals.changed(path, "sent")
    return refusals.unreadable(path, error)
