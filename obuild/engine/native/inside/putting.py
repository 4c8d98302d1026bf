"""Performing a copy: a tar stream goes into an overlay."""

from __future__ import annotations

import os
from typing import Any

from obuild.engine.destination import find_destination
from obuild.engine.native.inside.guest import Tree, into_guest
from obuild.engine.native.inside.sizes import tree_size
from obuild.engine.native.inside.stacks import mount_stack, own_mounts
from obuild.engine.native.inside.streams import Streams
from obuild.layers import Extraction, Links, Whiteouts, extract

__all__ = ["put"]


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
    into_guest(wanted["root"])
    found = find_destination(Tree(b""), wanted["destination"], directory=wanted["directory"])
    path = [name.hex() for name in found.path]
    streams.tell({"path": path, "existing": found.existing, "blocked": found.blocked})
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    how = Extraction(
        whiteouts=Whiteouts.LITERAL,
        links=Links.REFUSED,
        replace=True,
        plain=True,
    )
    extract(streams.pieces(), root, how)
    os.fchdir(upper)
    return {"size": tree_size(".")}
