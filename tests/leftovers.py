"""What is on an engine, so that a test run can show that it left nothing there.

Objects are compared by name: containers, tagged images, untagged images, volumes, networks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.setup import client, images

__all__ = ["objects", "prefix_of", "prefixes_below", "remove"]

_KINDS = ("container", "image", "untagged image", "volume", "network")


def prefix_of(store: Path) -> str:
    """How a store at that path names its Docker objects (golden: ``prefix/``)."""
    return f"obuilder-{hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()[:7]}-"


def prefixes_below(folder: Path) -> set[str]:
    """The prefixes of all stores that lie anywhere below a folder."""
    return {prefix_of(path.parent.parent) for path in folder.rglob("state/db")}


def objects(host: str) -> set[tuple[str, str]]:
    """Kind and name of all that is on the engine, but for the tests' base images."""
    api = client.connect(host)
    try:
        found = {("container", _name(c)) for c in api.containers(all=True)}
        for image in api.images():
            tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
            found |= {("image", tag) for tag in tags}
            if not tags:
                found.add(("untagged image", image["Id"]))
        found |= {("volume", v["Name"]) for v in api.volumes()["Volumes"] or []}
        found |= {("network", n["Name"]) for n in api.networks()}
    finally:
        api.close()
    return found - {("image", images.BUSYBOX), ("image", images.DEBIAN)}


def remove(host: str, which: Iterable[tuple[str, str]]) -> None:
    """Remove such objects, containers first, images that others stand on last."""
    api = client.connect(host)
    wanted = list(which)
    try:
        images = {known for kind, name in wanted if kind == "image" and (known := _id(api, name))}
        for kind, name in sorted(wanted, key=lambda entry: _KINDS.index(entry[0])):
            if kind == "container":
                api.remove_container(name, force=True, v=True)
            elif kind == "volume":
                api.remove_volume(name, force=True)
            elif kind == "network":
                api.remove_network(name)
            else:
                api.remove_image(name, force=True)
        # In containerd's store one that others stood on lives on without a name.
        for image in images:
            if image in {row["Id"] for row in api.images(filters={"dangling": True})}:
                api.remove_image(image, force=True)
    finally:
        api.close()


def _id(api: Any, name: str) -> str | None:
    """The id of an image, None if it has gone meanwhile."""
    rows = api.images(name=name.removesuffix(":latest"))
    return str(rows[0]["Id"]) if rows else None


def _name(container: dict[str, list[str]]) -> str:
    # A container that was linked to has more names than one; the shortest is its own.
    return min(container["Names"], key=len).removeprefix("/")
