"""What caches need done in the namespaces: owners, and filling an empty one from the image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from obuild.engine.destination import find_destination
from obuild.engine.native.inside.guest import Tree
from obuild.engine.native.inside.stacks import in_user_namespace, mount_stack, own_mounts
from obuild.engine.native.inside.streams import Streams
from obuild.errors import BuildError
from obuild.layers import Extraction, Whiteouts, extract
from obuild.layers.pack import Form, Packing, pack

__all__ = ["fill", "mount_caches", "own", "take_out"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def own(wanted: dict[str, Any], _: Streams) -> dict[str, Any]:
    """Make ``folder``, with ``owner`` (uid, gid) and ``mode``."""
    os.mkdir(wanted["folder"])
    os.chown(wanted["folder"], *wanted["owner"])
    os.chmod(wanted["folder"], wanted["mode"])
    return {}


def take_out(wanted: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """A tar archive of a cache goes to the output: of ``folder``, or of ``stack``, mounted at
    ``folder``."""
    own_mounts()
    if wanted["stack"] is not None:
        mount_stack(wanted["layers"], wanted["stack"], None, wanted["folder"])
    packing = Packing(form=Form.PLAIN, user_xattrs=in_user_namespace(), root=True)
    for piece in pack(os.open(wanted["folder"], _FOLDER), packing):
        streams.write(piece)
    streams.close_output()
    return {}


def mount_caches(layers: str, overlays: Sequence[Mapping[str, Any]]) -> None:
    """Mount a run's own versions of caches; see ``obuild.engine.native.caches``."""
    for cache in overlays:
        mount_stack(layers, cache["stack"], cache["work"], cache["target"])
        if cache["owner"] is not None:
            os.chown(cache["target"], *cache["owner"])
        if cache["mode"] is not None:
            os.chmod(cache["target"], cache["mode"])


def fill(root: str, fills: Sequence[Mapping[str, str]]) -> None:
    """Give each ``folder`` that is empty what the image, mounted at ``root``, has at
    ``target``: the files, owner and mode of the folder itself too."""
    tree = Tree(os.fsencode(root))
    for each in fills:
        try:
            place = find_destination(tree, each["target"], directory=True)
        except BuildError:
            continue  # nothing can be mounted there: the runtime says so
        if not place.is_folder or os.listdir(each["folder"]):
            continue
        source = os.open(b"/".join((os.fsencode(root), *place.path)), _FOLDER)
        target = os.open(each["folder"], _FOLDER)
        packing = Packing(form=Form.PLAIN, user_xattrs=in_user_namespace(), nanoseconds=True)
        how = Extraction(whiteouts=Whiteouts.LITERAL, plain=True)
        extract(pack(source, packing), target, how)
        found = os.fstat(source)
        os.fchown(target, found.st_uid, found.st_gid)
        os.fchmod(target, found.st_mode & 0o7777)
