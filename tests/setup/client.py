"""Asking an engine, through the Docker SDK: no ``docker`` command is needed for it."""

from __future__ import annotations

import os
import socket
import struct

import docker
import requests
from docker.utils import kwargs_from_env

from tests.setup.shell import SetupError

__all__ = ["DEFAULT_SOCKET", "connect", "default_host", "process_of", "version"]

DEFAULT_SOCKET = "/var/run/docker.sock"


def default_host() -> str:
    """The engine that the user's ``docker`` would talk to."""
    return os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"


def connect(host: str, deadline: int = 60) -> docker.APIClient:
    """A client of the engine; nothing is sent yet but the question for its version.

    ``deadline`` is for one answer, in seconds.
    """
    # Certificates are named in the environment; they are for the engine that it names.
    tls = kwargs_from_env().get("tls", False) if host == os.environ.get("DOCKER_HOST") else False
    ssh = host.startswith("ssh://")
    return docker.APIClient(host, version="auto", timeout=deadline, tls=tls, use_ssh_client=ssh)


def version(host: str, deadline: int = 10) -> str | None:
    """The version of the engine that answers at ``host``, None if none does."""
    path = host.removeprefix("unix://")
    if host.startswith("unix://") and not os.path.exists(path):
        return None
    if host.startswith("unix://") and not os.access(path, os.R_OK | os.W_OK):
        raise SetupError(f"you may not use {path}: join its group (docker), or run as root")
    try:
        client = connect(host, deadline)
        try:
            return str(client.version()["Version"])
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        return None


def process_of(host: str) -> int | None:
    """The process that listens on an engine's unix socket; None for any other address."""
    if not host.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(host.removeprefix("unix://"))
        size = struct.calcsize("3i")
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = struct.unpack("3i", peer)[0]
    return pid or None
