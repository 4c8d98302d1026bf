"""The output of a container, as it comes.

The attached connection carries frames: a stream number, three zero bytes, the length as four
bytes, the data (Engine API, ``POST /containers/{id}/attach``). It is opened before the
container starts, so nothing can be lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from docker import APIClient

__all__ = ["Attached", "attached", "open_stream"]

_LOOK = 0.2
_HEADER = 8
_CHUNK = 1 << 16


class _Socket(Protocol):
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float, /) -> None: ...


class Attached:
    """The output of one container."""

    def __init__(self, connection: _Socket):
        self._connection = connection
        self._buffer = bytearray()

    def pump(
        self, output: Callable[[bytes], None], cancel: Event, quiet: Callable[[float], None]
    ) -> bool:
        """Pass on everything until the end; False if ``cancel`` was set before.

        ``quiet(seconds)`` is called while nothing comes, with the length of the silence; what
        it raises ends this.
        """
        self._connection.settimeout(_LOOK)
        since = time.monotonic()
        while not cancel.is_set():
            try:
                data = self._connection.recv(_CHUNK)
            except TimeoutError:
                quiet(time.monotonic() - since)
                continue
            if not data:
                return True
            since = time.monotonic()
            self._buffer += data
            for content in self._contents():
                output(content)
        return False

    def _contents(self) -> Iterator[bytes]:
        """What has come of frames so far, without their headers, joined where it is one
        piece; a frame that is not complete yet waits."""
        joined = bytearray()
        while len(self._buffer) >= _HEADER:
            end = _HEADER + int.from_bytes(self._buffer[4:_HEADER], "big")
            if len(self._buffer) < end:
                break
            joined += self._buffer[_HEADER:end]
            del self._buffer[:end]
        if joined:
            yield bytes(joined)


def open_stream(client: APIClient, container: str, streams: dict[str, int]) -> Any:
    """The connection of an attachment. The SDK knows no deadline for this call alone."""
    usual = client.post
    client.post = partial(usual, timeout=client.timeout)  # type: ignore[method-assign]
    try:
        return client.attach_socket(container, params=streams)
    finally:
        client.post = usual  # type: ignore[method-assign]


@contextmanager
def attached(client: APIClient, container: str) -> Iterator[Attached]:
    """Attach to the output of a container that has not been started yet."""
    wrapper = open_stream(client, container, {"stdout": 1, "stderr": 1, "stream": 1})
    # The SDK keeps the response alive on the socket; closing it closes the connection.
    owner: Any = getattr(wrapper, "_response", wrapper)
    try:
        # A unix or tcp connection comes wrapped in a file that only blocks.
        yield Attached(getattr(wrapper, "_sock", wrapper))
    finally:
        owner.close()
