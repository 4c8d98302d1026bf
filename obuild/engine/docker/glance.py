"""One small look at the daemon, without the SDK: are these images there, and what are they?

For a build in which everything is stored. HTTP/1.1 over a plain socket, the requests one
after the other on one connection; the SDK alone takes longer to load than all of this.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from obuild.engine.docker.address import Address, find_address, unavailable
from obuild.source import encode

__all__ = ["glance", "inspect"]

_T = TypeVar("_T")


def glance(
    host: str | None,
    environment: Mapping[str, str],
    names: Sequence[str],
    *,
    timeout: float = 10.0,
) -> list[bool] | None:
    """Whether each of ``names`` is an image of the daemon.

    None if this kind of connection (TLS, ssh, named pipe) cannot be looked at in this way.
    Raises ``EngineUnavailable`` if nothing listens there or no answer came within
    ``timeout`` seconds.
    """
    return _look(host, environment, timeout, lambda look: [look.exists(name) for name in names])


def inspect(
    host: str | None,
    environment: Mapping[str, str],
    names: Sequence[str],
    *,
    timeout: float = 10.0,
) -> list[Mapping[str, Any] | None] | None:
    """What the Engine API tells of each of the images ``names``, None where there is none.

    Else as ``glance``.
    """
    return _look(host, environment, timeout, lambda look: [look.inspect(name) for name in names])


def _look(
    host: str | None, environment: Mapping[str, str], timeout: float, ask: Callable[[_Look], _T]
) -> _T | None:
    address = find_address(host, environment)
    if address.unix_path is None and address.plain_tcp is None:
        return None
    try:
        with _connect(address, timeout) as connection:
            return ask(_Look(connection, time.monotonic() + timeout))
    except TimeoutError as error:
        late = TimeoutError(None, f"no answer within {timeout:g} s")
        raise unavailable(address, late) from error
    except OSError as error:
        raise unavailable(address, error) from error
    except (ValueError, EOFError) as error:
        raise unavailable(address, f"not the answer of a Docker daemon ({error})") from error


def _connect(address: Address, timeout: float) -> socket.socket:
    path = address.unix_path
    if path is None:
        tcp = address.plain_tcp
        assert tcp is not None
        return socket.create_connection(tcp, timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class _Look:
    """Requests on one connection; all answers must have come by ``deadline``."""

    def __init__(self, connection: socket.socket, deadline: float):
        self._connection = connection
        self._deadline = deadline
        self._buffer = b""

    def exists(self, name: str) -> bool:
        return self._get(name) is not None

    def inspect(self, name: str) -> Mapping[str, Any] | None:
        import json  # a cached build does without these
        from urllib.parse import quote

        body = self._get(quote(encode(name), safe="/:@"))
        if body is None:
            return None
        found: Mapping[str, Any] = json.loads(body)
        return found

    def _get(self, name: str) -> bytes | None:
        """The body of the answer, None if there is no such image."""
        request = f"GET /images/{name}/json HTTP/1.1\r\nHost: docker\r\nUser-Agent: obuild\r\n\r\n"
        self._connection.sendall(request.encode("ascii"))
        status = self._line().split()
        headers = {}
        while line := self._line():
            field, _, value = line.partition(b":")
            headers[field.strip().lower()] = value.strip().lower()
        body = b""
        if headers.get(b"transfer-encoding") == b"chunked":
            while size := int(self._line().partition(b";")[0], 16):
                body += self._take(size + 2)[:size]
            self._line()
        else:
            body = self._take(int(headers.get(b"content-length", b"0")))
        code = int(status[1]) if len(status) > 1 else 0
        if code not in (200, 400, 404):  # 400: no image can have that name
            raise ValueError(f"status {code}")
        return body if code == 200 else None

    def _more(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        data = self._connection.recv(1 << 16)
        if not data:
            raise EOFError("the connection was closed")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
