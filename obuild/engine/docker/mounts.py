"""What a container gets besides its image, as the Engine API writes it (``HostConfig``)."""

from __future__ import annotations

from typing import Any

__all__ = ["bind_mount", "host_config", "volume_mount"]


def host_config(network: str) -> dict[str, Any]:
    """No log is kept by the daemon. The option of the log driver means nothing to Docker: it
    tells obuild's containers from others, where a label would end in the committed image."""
    return {"NetworkMode": network, "LogConfig": {"Type": "none", "Config": {"obuild": "1"}}}


def volume_mount(
    volume: str,
    target: str,
    *,
    read_only: bool = False,
    fill: bool = False,
    subpath: str | None = None,
) -> dict[str, Any]:
    """A volume at ``target``; of it only ``subpath``, if that is given (API 1.45 and later).

    ``fill``: Docker fills an empty volume with what the image has at the target.
    """
    mount: dict[str, Any] = {"Type": "volume", "Source": volume, "Target": target}
    if read_only:
        mount["ReadOnly"] = True
    options: dict[str, Any] = {} if fill else {"NoCopy": True}
    if subpath is not None:
        options["Subpath"] = subpath
    if options:
        mount["VolumeOptions"] = options
    return mount


def bind_mount(source: str, target: str) -> dict[str, Any]:
    """A path of the daemon's own host, read-only."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
