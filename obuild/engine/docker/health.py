"""Does the daemon work? A wedged one still answers pings, so a container must start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import host_config
from obuild.errors import EngineUnavailable, ImageError

__all__ = ["check_health"]

_NAME = "healthcheck"


def check_health(daemon: Daemon, info: Mapping[str, Any], image: str | None) -> str:
    """See the engine's protocol. That the image has no program called ``true`` is no fault:
    the runtime got as far as to look for it."""
    from secrets import token_hex

    name = f"{daemon.names.prefix}-{_NAME}-{token_hex(4)}"
    chosen = image or _any_image(daemon)
    config = {"Image": chosen, "Entrypoint": ["true"], "Cmd": [], "HostConfig": host_config("none")}
    began = time.monotonic()
    try:
        daemon.create(name, config)
    except DaemonError as error:
        if error.status != 404:
            raise
        raise ImageError(
            f"the image {chosen} is not there", hint=f"docker pull {chosen}"
        ) from error
    with daemon.temporary_container(name):
        _start(daemon, name)
    seconds = time.monotonic() - began
    kind = f"{info.get('OSType')}/{info.get('Architecture')}, {info.get('Driver')}"
    return f"Docker {info.get('ServerVersion')} ({kind}): a container started in {seconds:.2f} s"


def _start(daemon: Daemon, name: str) -> None:
    try:
        daemon.connection.ask(lambda api: api.start(name))
    except DaemonError as error:
        words = error.words.lower()
        if "executable file not found" in words or "no such file" in words:
            return
        raise EngineUnavailable(
            f"the Docker daemon cannot start a container: {error.words}",
            hint="see the daemon's log; a restart of the daemon may help",
        ) from error
    ended = daemon.connection.ask(
        lambda api: api.wait(name, timeout=int(daemon.connection.timeout))
    )
    if ended["StatusCode"]:
        raise EngineUnavailable(f"a container ended with status {ended['StatusCode']}, not 0")


def _any_image(daemon: Daemon) -> str:
    rows = daemon.images("*") or daemon.images("*/*")
    for row in rows:
        for tag in row.get("RepoTags") or ():
            if tag != "<none>:<none>":
                return str(tag)
    raise ImageError(
        "the daemon has no image to start a container of", hint="pull one, as docker pull busybox"
    )
