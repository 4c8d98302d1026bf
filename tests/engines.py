"""The engines that the tests run on, by name.

``OBUILD_TEST_ENGINES`` names them, separated by commas:

==================  ===================================================================
docker              whatever answers at ``DOCKER_HOST`` or the default socket
docker20            Docker 20.10 of Debian 12: the machine's own if it is one, else one in a
                    Debian root of its own
docker28-classic    a current Docker in a root of Debian unstable, images in overlay2
docker28-containerd the same, images in containerd's store
native              the native engine, as whoever runs the tests
==================  ===================================================================

A named one that cannot be had is an error, one that is not named is not touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.setup import client, debian
from tests.setup.daemons import CLASSIC, CONTAINERD, UNSAID, Daemon
from tests.setup.default import ensure_default
from tests.setup.shell import SetupError, cache_folder, is_root, locked, output

__all__ = ["ALL", "NATIVE", "Engine", "chosen", "daemon_of", "ensure", "running", "under_ci"]

ALL = ("docker20", "docker28-classic", "docker28-containerd")
NATIVE = "native"

_IMAGE_STORES = {"docker20": UNSAID, "docker28-classic": CLASSIC, "docker28-containerd": CONTAINERD}
_ROOTS = {"docker20": "bookworm", "docker28-classic": "sid", "docker28-containerd": "sid"}
_PACKAGES = ("docker.io", "iptables", "iproute2", "ca-certificates", "xz-utils")


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers. ``daemon`` is set where it is one of the tests' own."""

    name: str
    host: str
    version: str
    daemon: Daemon | None = None


def under_ci(environ: Mapping[str, str] = os.environ) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


def chosen(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of this run's engines, [] if none is named and none answers."""
    named = [name.strip() for name in environ.get("OBUILD_TEST_ENGINES", "").split(",")]
    named = [name for name in named if name]
    for name in named:
        if name not in (known := ("docker", *ALL, NATIVE)):
            raise SetupError(f"OBUILD_TEST_ENGINES names {name!r}; known are: {', '.join(known)}")
    if named:
        return named
    if under_ci(environ):
        return [*ALL, NATIVE]
    return ["docker"] if client.version(client.default_host()) else []


def ensure(name: str) -> Engine:
    """The engine of that name, started if need be. Raises ``SetupError``."""
    if name == NATIVE:
        return Engine(name, "", "")
    with locked(f"engine-{name}"):
        if name == "docker":
            return Engine(name, client.default_host(), ensure_default())
        if name == "docker20" and _default_is_docker20():
            return Engine(name, client.default_host(), ensure_default())
        daemon = daemon_of(name, name)
        daemon.start()
        found = client.version(daemon.host)
        assert found is not None, "start() has seen it answer"
        return Engine(name, daemon.host, found, daemon)


def running(name: str) -> Daemon | None:
    """The daemon of the tests' own that runs under that name already; starts nothing."""
    daemon = Daemon(name, Path("/"), UNSAID)
    return daemon if daemon.keeper() else None


def daemon_of(kind: str, name: str) -> Daemon:
    """A daemon of the tests' own, called ``name``, of the version that ``kind`` names; for
    ``docker``: of the machine's own dockerd. It is not started yet."""
    if kind == "docker":
        if not shutil.which("dockerd"):
            raise SetupError("no dockerd on this machine to start an engine of the tests' own")
        return Daemon(name, Path("/"), UNSAID)
    if kind == "docker20" and _installed_is_docker20():
        return Daemon(name, Path("/"), UNSAID)
    return Daemon(name, _debian_root(_ROOTS[kind]), _IMAGE_STORES[kind])


def _default_is_docker20() -> bool:
    """Whether the machine's own engine is, or would be, a Docker 20.10."""
    host = client.default_host()
    found = client.version(host)
    if found is not None:
        return found.startswith("20.10.")
    if host != f"unix://{client.DEFAULT_SOCKET}" or not is_root():
        return False
    if shutil.which("dockerd"):
        return _installed_is_docker20()
    return (debian.candidate("docker.io") or "").startswith("20.10.")


def _installed_is_docker20() -> bool:
    return " 20.10." in (output(["dockerd", "--version"]) or "")


def _debian_root(suite: str) -> Path:
    """A Debian root with an engine and its command line in it, made once and kept."""
    if not is_root():
        raise SetupError(f"only root can have an engine of Debian {suite} for the tests")
    # Debian 12 has the command line in docker.io itself, and no buildx.
    more = () if suite == "bookworm" else ("docker-cli", "docker-buildx")
    root = cache_folder() / "roots" / suite
    with locked(f"root-{suite}"):
        if not (root / "usr/sbin/dockerd").exists():
            debian.bootstrap(suite, root, variant="minbase", packages=[*_PACKAGES, *more])
    return root
