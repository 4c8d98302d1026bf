"""Asking an engine, through the Docker SDK: no ``docker`` command is needed for it."""

from __future__ import annotations

import os
import socket
import struct

import docker
import requests
from docker.tls import TLSConfig

from obuild.engine.docker.address import Address, find_address
from obuild.errors import EngineUnavailable
from tests.setup.shell import SetupError

__all__ = ["DEFAULT_SOCKET", "connect", "default_host", "process_of", "version"]

DEFAULT_SOCKET = "/var/run/docker.sock"


def default_host() -> str:
    """The engine that obuild, and the user's ``docker``, would talk to."""
    return _default().url


def connect(host: str, deadline: int = 60) -> docker.APIClient:
    """A client of the engine; nothing is sent yet but the question for its version.

    ``deadline`` is for one answer, in seconds.
    """
    tls = _default().tls if host == _default().url else None
    options: bool | TLSConfig = False
    if tls is not None:
        pair = (tls.cert, tls.key) if tls.cert and tls.key else None
        options = TLSConfig(client_cert=pair, ca_cert=tls.ca, verify=tls.verify)
    ssh = host.startswith("ssh://")
    return docker.APIClient(host, version="auto", timeout=deadline, tls=options, use_ssh_client=ssh)


def _default() -> Address:
    try:
        return find_address(None, os.environ)
    except EngineUnavailable as error:
        raise SetupError(f"{error.message}: {error.hint}") from error


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
