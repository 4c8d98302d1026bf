"""The files of a mounted snapshot, looked at one by one."""

from __future__ import annotations

import errno
import os
import stat
import sys

from obuild.engine.destination import Entry, show
from obuild.errors import BuildError
from obuild.source import decode, encode

__all__ = ["Tree", "into_guest"]


def into_guest(root: str) -> None:
    """Make the snapshot that is mounted at ``root`` the root of this process.

    From now on no module can be loaded: it would be the guest's.
    """
    sys.path.clear()
    sys.meta_path.clear()
    os.chroot(root)
    os.chdir("/")


class Tree:
    """See ``obuild.engine.destination.Guest``. ``root`` is where the snapshot is mounted. Paths
    must have no links in them, but for the last name: so none of the guest leads out."""

    def __init__(self, root: bytes):
        self._root = root

    def look(self, path: tuple[bytes, ...]) -> Entry | None:
        name = b"/".join((self._root, *path))
        try:
            found = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            hint = "a name there is too long" if error.errno == errno.ENAMETOOLONG else None
            raise BuildError(
                f"{show(path)} cannot be looked at in the image: {error.strerror}", hint=hint
            ) from error
        link = stat.S_ISLNK(found.st_mode)
        target = decode(os.readlink(name)) if link else ""
        regular = stat.S_ISREG(found.st_mode)
        return Entry(stat.S_ISDIR(found.st_mode), link, target, regular)

    def target(self, _: tuple[bytes, ...], link: Entry, /) -> bytes:
        return encode(link.target)
