"""One small look at the daemon, without the SDK: are these images there?

For a build in which everything is stored. HTTP/1.1 over a plain socket, the requests one
after the other on one connection; the SDK alone takes longer to load than all of this.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence

from obuild.engine.docker.address import Address, find_address, unavailable

__all__ = ["glance"]


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
    address = find_address(host, environment)
    if address.unix_path is None and address.plain_tcp is None:
        return None
    try:
        with _connect(address, timeout) as connection:
            look = _Look(connection, time.monotonic() + timeout)
            return [look.exists(name) for name in names]
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
        request = f"GET /images/{name}/json HTTP/1.1\r\nHost: docker\r\nUser-Agent: obuild\r\n\r\n"
        self._connection.sendall(request.encode("ascii"))
        status = self._line().split()
        headers = {}
        while line := self._line():
            field, _, value = line.partition(b":")
            headers[field.strip().lower()] = value.strip().lower()
        if headers.get(b"transfer-encoding") == b"chunked":
            while size := int(self._line().partition(b";")[0], 16):
                self._skip(size + 2)
            self._line()
        else:
            self._skip(int(headers.get(b"content-length", b"0")))
        code = int(status[1]) if len(status) > 1 else 0
        if code not in (200, 404):
            raise ValueError(f"status {code}")
        return code == 200

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

    def _skip(self, size: int) -> None:
        while len(self._buffer) < size:
            self._more()
        self._buffer = self._buffer[size:]
