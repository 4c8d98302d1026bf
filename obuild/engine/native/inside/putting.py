"""Performing a copy: a tar stream goes into an overlay."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from obuild.engine.destination import Entry, find_destination, show
from obuild.engine.native.inside.sizes import tree_size
from obuild.engine.native.inside.stacks import mount_stack, own_mounts
from obuild.engine.native.inside.streams import Streams
from obuild.errors import BuildError
from obuild.layers import Extraction, Links, Whiteouts, extract
from obuild.source import encode

__all__ = ["put"]


class _Root:
    """The guest's files, to a process that has them for its root."""

    def look(self, path: tuple[bytes, ...]) -> Entry | None:
        name = b"/" + b"/".join(path)
        try:
            found = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            hint = "a link there may lead in a circle" if error.errno == errno.ELOOP else None
            raise BuildError(
                f"{show(path)} cannot be looked at in the image: {error.strerror}", hint=hint
            ) from error
        link = stat.S_ISLNK(found.st_mode)
        target = os.readlink(name).decode("utf-8", "surrogateescape") if link else ""
        regular = stat.S_ISREG(found.st_mode)
        return Entry(stat.S_ISDIR(found.st_mode), link, target, regular)

    def target(self, _: tuple[bytes, ...], link: Entry) -> bytes:
        return encode(link.target)


def put(wanted: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """``layers``, ``stack``, ``work``: see ``mount_stack``; ``root``: an empty folder for the
    mount. ``destination``, ``directory``: as the copy says.

    The first part of the answer is where the copy really goes: ``path`` (names in hex),
    ``existing``, ``blocked``. Then the tar stream is read, of whole paths. The last part:
    ``size`` of the layer in bytes.
    """
    own_mounts()
    mount_stack(wanted["layers"], wanted["stack"], wanted["work"], wanted["root"])
    upper = os.open(f"{wanted['work']}/layer/fs", os.O_RDONLY | os.O_DIRECTORY)
    os.chroot(wanted["root"])
    os.chdir("/")
    found = find_destination(_Root(), wanted["destination"], directory=wanted["directory"])
    path = [name.hex() for name in found.path]
    streams.tell({"path": path, "existing": found.existing, "blocked": found.blocked})
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    how = Extraction(
        whiteouts=Whiteouts.LITERAL,
        links=Links.REFUSED,
        replace=True,
    )
    extract(streams.pieces(), root, how)
    os.fchdir(upper)
    return {"size": tree_size(".")}
