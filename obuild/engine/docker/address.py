"""Where the daemon is, as the ``docker`` command finds it; nothing of the SDK is loaded.

The order is that of Docker's command line: a host that is given, ``DOCKER_HOST``,
``DOCKER_CONTEXT``, the current context of ``$DOCKER_CONFIG/config.json`` (default
``~/.docker``), the default socket. Contexts lie in ``contexts/meta/SHA256(NAME)/meta.json``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from obuild.errors import EngineUnavailable
from obuild.values import Value

__all__ = ["Address", "Tls", "find_address", "unavailable"]

_SCHEMES = ("unix", "tcp", "http", "https", "ssh", "npipe")
_UNIX = "unix:///var/run/docker.sock"
_PIPE = "npipe:////./pipe/docker_engine"


class Tls(Value):
    """Certificates for a tcp connection: file names, those that are there."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


class Address(Value):
    """``url`` is unix://PATH, tcp://HOST:PORT, ssh://…, npipe://…"""

    url: str
    tls: Tls | None = None

    @property
    def unix_path(self) -> str | None:
        """The path of the socket, None for another kind of connection."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else None

    @property
    def plain_tcp(self) -> tuple[str, int] | None:
        """Host and port of a connection without TLS, None for another kind."""
        for scheme in ("tcp://", "http://"):
            if self.url.startswith(scheme) and self.tls is None:
                host, _, port = self.url.removeprefix(scheme).rstrip("/").rpartition(":")
                if host and port.isdigit():
                    return host.strip("[]"), int(port)
        return None


def find_address(host: str | None, environment: Mapping[str, str]) -> Address:
    """The daemon that is meant. Raises ``EngineUnavailable`` for a context that is not there."""
    host = host or environment.get("DOCKER_HOST")
    if host:
        _check(host)
        return Address(_spelled_out(host), _tls_of_environment(host, environment))
    folder = environment.get("DOCKER_CONFIG") or _home(environment)
    name = environment.get("DOCKER_CONTEXT") or _current_context(folder)
    if name and name != "default":
        return _of_context(folder, name)
    return Address(_UNIX if hasattr(socket, "AF_UNIX") else _PIPE)


def _check(host: str) -> None:
    scheme, _, rest = _spelled_out(host).partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        raise EngineUnavailable(
            f"{host!r} is no address of a Docker daemon",
            hint="DOCKER_HOST is unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST or npipe:////PATH",
        )


def unavailable(address: Address, error: BaseException | str) -> EngineUnavailable:
    """No daemon answers at ``address``: what happened, and what can be done about it."""
    message = f"the Docker daemon at {address.url} does not answer: {_words(error)}"
    found = EngineUnavailable(message, hint=_hint(error))
    found.passing = not isinstance(error, PermissionError)
    return found


def _words(error: BaseException | str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _hint(error: BaseException | str) -> str:
    if isinstance(error, PermissionError):
        return "join the group docker (and log in again), or name another daemon in DOCKER_HOST"
    if isinstance(error, TimeoutError | str):
        return "see whether `docker ps` answers, and restart the daemon if it does not"
    return "start the daemon, or choose another one with DOCKER_HOST or `docker context use`"


def _home(environment: Mapping[str, str]) -> str:
    """The folder of Docker's own settings."""
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    return os.path.join(home, ".docker")


def _spelled_out(host: str) -> str:
    if host.startswith("/"):
        return f"unix://{host}"
    if "://" not in host:
        return f"tcp://{host}"
    return host


def _tls_of_environment(host: str, environment: Mapping[str, str]) -> Tls | None:
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    folder = environment.get("DOCKER_CERT_PATH")
    if not (verify or folder) or not _spelled_out(host).startswith(("tcp://", "https://")):
        return None
    return _tls_in(folder or _home(environment), verify=verify)


def _tls_in(folder: str, *, verify: bool) -> Tls | None:
    files = {name: os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key")}
    there = {name: path for name, path in files.items() if os.path.exists(path)}
    return Tls(there.get("ca"), there.get("cert"), there.get("key"), verify)


def _read_json(path: str) -> Any:
    import json

    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"{path} cannot be read: {error}", hint="repair it, or set DOCKER_HOST"
        ) from error


def _current_context(folder: str) -> str | None:
    config = _read_json(os.path.join(folder, "config.json"))
    name = config.get("currentContext") if isinstance(config, dict) else None
    return name if isinstance(name, str) else None


def _of_context(folder: str, name: str) -> Address:
    from hashlib import sha256

    digest = sha256(name.encode()).hexdigest()
    contexts = os.path.join(folder, "contexts")
    meta = _read_json(os.path.join(contexts, "meta", digest, "meta.json"))
    try:
        endpoint = meta["Endpoints"]["docker"]
        host = endpoint["Host"]
    except (TypeError, KeyError) as error:
        raise EngineUnavailable(
            f"there is no docker context {name} with a Docker endpoint",
            hint="see `docker context ls`; DOCKER_CONTEXT or `docker context use` chooses one",
        ) from error
    files = os.path.join(contexts, "tls", digest, "docker")
    if not os.path.isdir(files):
        return Address(host)
    return Address(host, _tls_in(files, verify=not endpoint.get("SkipTLSVerify", False)))
