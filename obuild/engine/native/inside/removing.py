"""Removing folders of the store whose files belong to ids of the user namespace."""

from __future__ import annotations

import os
from typing import Any

from obuild import layers
from obuild.engine.native.inside.streams import Streams

__all__ = ["remove"]


def remove(wanted: dict[str, Any], _: Streams) -> dict[str, Any]:
    """``folder`` and ``names`` in it: all of each goes."""
    folder = os.open(wanted["folder"], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    for name in wanted["names"]:
        layers.remove(os.fsencode(name), folder)
    return {}
