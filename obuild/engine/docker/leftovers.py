"""Finding and removing what steps left behind, and all that is a store's.

A container that runs for a key that nobody builds is obuild's own if it has obuild's log
option (see ``runs``): obuild was killed, and the container goes. One without it is OBuilder's
at work, or somebody's by hand: obuild does not touch it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from obuild.engine.docker.config import MARK, bears_mark
from obuild.engine.docker.daemon import Daemon
from obuild.errors import StoreError

__all__ = ["clean", "sweep"]

_LOOKED_AT = 50
_RUNNING = ("running", "paused", "restarting")


def sweep(daemon: Daemon, alive: Callable[[str], bool], *, named_last: bool) -> list[str]:
    """See the engine's protocol; idle containers are their visit's. ``named_last``: the daemon
    gives an image its name when it is done (containerd's store), so one may have none."""
    removed = []
    for name, row in _containers(daemon):
        owner = daemon.names.owner_of_container(name)
        if owner is None or alive(owner):
            continue
        if row.get("State") in _RUNNING and not _is_own(daemon, row["Id"]):
            raise _at_work(name, row)
        daemon.remove_container(name, row["Id"])
        removed.append(f"container {name}")
    for tag in _tags(daemon, "-image-tmp-*"):
        key = daemon.names.owner_of_temporary(tag)
        if key is not None and not alive(key) and daemon.remove_image(tag):
            removed.append(f"image {tag}")
    if named_last:
        removed += [f"image {image}" for image in _cut_commits(daemon, alive)]
    return removed


def _cut_commits(daemon: Daemon, alive: Callable[[str], bool]) -> Iterator[str]:
    """Remove images that a commit left without a name, as nobody waited for its end.

    Only the newest are looked at, at a call each: what a build left, the next one finds.
    """
    newest = sorted(daemon.untagged(), key=lambda row: row.get("Created") or 0, reverse=True)
    for row in newest[:_LOOKED_AT]:
        found = daemon.inspect_image(row["Id"], note="of a commit that was cut short?")
        if found is None or found.tags or not bears_mark(found.comment):
            continue
        key = daemon.names.key_of_container(found.comment.removeprefix(f"{MARK} "))
        if key is not None and not alive(key) and daemon.remove_image(row["Id"]):
            yield row["Id"]


def clean(daemon: Daemon) -> None:
    """Remove containers, images and volumes whose name has the prefix. Raises ``StoreError``
    before anything is removed if a container runs that is not obuild's."""
    containers = list(_containers(daemon))
    for name, row in containers:
        if row.get("State") in _RUNNING and not _is_own(daemon, row["Id"]):
            raise _at_work(name, row)
    for name, _ in containers:
        daemon.remove_container(name)
    images = {row["Id"] for row in daemon.images(daemon.names.prefix + "-*")}
    for tag in sorted(_tags(daemon, "-*")):
        daemon.remove_image(tag)
    for image in images:
        # One that lost its name before others that were made of it did may still be there.
        found = daemon.inspect_image(image)
        if found is not None and not found.tags and not found.digests:
            daemon.remove_image(image)
    for name in daemon.volumes(f"^{re.escape(daemon.names.prefix)}-"):
        daemon.remove_volume(name)


def _containers(daemon: Daemon) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in daemon.containers(f"^{daemon.names.prefix}"):
        for name in row.get("Names") or ():
            if name.removeprefix("/").startswith(f"{daemon.names.prefix}-"):
                yield name.removeprefix("/"), row


def _tags(daemon: Daemon, pattern: str) -> Iterator[str]:
    for row in daemon.images(daemon.names.prefix + pattern):
        for tag in row.get("RepoTags") or ():
            if tag.startswith(f"{daemon.names.prefix}-"):
                yield tag


def _is_own(daemon: Daemon, container: str) -> bool:
    found = daemon.inspect_container(container)
    log: Mapping[str, Any] = (found or {}).get("HostConfig", {}).get("LogConfig") or {}
    return found is None or "obuild" in (log.get("Config") or {})


def _at_work(name: str, row: Mapping[str, Any]) -> StoreError:
    return StoreError(
        f"the container {name} runs ({row.get('Status') or row.get('State')}), and no obuild"
        " builds its step: OBuilder seems to be at work on this store",
        hint=f"wait until it is done; if nothing works there: docker rm --force {name}",
    )
