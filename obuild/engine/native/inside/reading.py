"""Snapshots as sources of copies: what the build context is to other copies."""

from __future__ import annotations

import os
from typing import Any

from obuild.context import BuildContext
from obuild.engine.native.inside.stacks import mount_stack, own_mounts
from obuild.engine.native.inside.streams import Streams
from obuild.engine.native.manifests import packed, unpacked
from obuild.ir.ops import UnixUser

__all__ = ["files", "manifest"]


def manifest(wanted: dict[str, Any], _: Streams) -> dict[str, Any]:
    """``layers``, ``stack``: see ``mount_stack``; ``target``: an empty folder for the mount;
    ``sources``, ``exclude``. The answer: ``manifests``, packed, with attributes."""
    context = _mounted(wanted)
    found = [
        packed(context.manifest(source, wanted["exclude"], attributes=True))
        for source in wanted["sources"]
    ]
    return {"manifests": found}


def files(wanted: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """The same, and ``manifests``, packed; ``destination``, ``owner``, ``root`` (hex): the tar
    stream of their files goes to the output."""
    context = _mounted(wanted)
    manifests = tuple(unpacked(each) for each in wanted["manifests"])
    sent = context.files(manifests, wanted["destination"], UnixUser(*wanted["owner"]))
    for piece in sent.tar(bytes.fromhex(wanted["root"])):
        streams.write(piece)
    streams.close_output()
    return {}


def _mounted(wanted: dict[str, Any]) -> BuildContext:
    own_mounts()
    mount_stack(wanted["layers"], wanted["stack"], None, wanted["target"])
    os.chdir("/")
    return BuildContext(wanted["target"])
