"""Layers of images, and trees that are imported, become layers of the store."""

from __future__ import annotations

import os
from typing import Any

from obuild.engine.native.inside.sizes import tree_size
from obuild.engine.native.inside.stacks import in_user_namespace
from obuild.engine.native.inside.streams import Streams
from obuild.layers import Extraction, Whiteouts, extract

__all__ = ["unpack"]


def unpack(wanted: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """``folder``: where the archive on the input goes; ``layer``: whether whiteouts in it
    mean what they mean in a layer. The answer: ``digest`` of the uncompressed archive, in hex,
    ``size`` of the files in bytes, ``skipped``: sentences about what was left out."""
    rootless = in_user_namespace()
    root = os.open(wanted["folder"], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    how = Extraction(
        whiteouts=Whiteouts.OVERLAY if wanted["layer"] else Whiteouts.REFUSED,
        user_xattrs=rootless,
        strict=not rootless,
    )
    done = extract(streams.pieces(), root, how)
    size = tree_size(wanted["folder"])
    return {"digest": done.digest, "size": size, "skipped": list(done.skipped)}
