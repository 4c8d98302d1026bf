"""A container that takes a stream on its standard input and gives one on its output.

Each stream has a connection of its own (Engine API, ``POST /containers/{id}/attach``), opened
before the container starts. So sending never waits for reading, or the other way round. A
thread sends, one reads standard error, and the caller reads standard output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from socket import SHUT_WR
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from obuild.engine.docker.attach import open_stream
from obuild.engine.docker.daemon import Daemon
from obuild.errors import Cancelled, EngineError

if TYPE_CHECKING:
    from docker import APIClient

__all__ = ["Talk", "failed", "last_words", "listening", "talk"]

_LOOK = 0.2
_PING_AFTER = 5.0
_CHUNK = 1 << 16
_HEADER = 8
_MOST_ERRORS = 1 << 16


class Talk:
    """What a running container says. ``output`` is to be read to its end before ``finish``."""

    def __init__(self, daemon: Daemon, name: str, cancel: Event):
        self._daemon = daemon
        self._name = name
        self._cancel = cancel
        self._stdout: Any = None
        self._error: BaseException | None = None
        self._errors = bytearray()
        self._threads: list[Thread] = []

    def output(self) -> Iterator[bytes]:
        """Standard output, in pieces. Raises ``Cancelled``, and ``EngineUnavailable`` if the
        daemon stops answering."""
        yield from self._frames(self._stdout, ping=True)

    def finish(self) -> tuple[int, str]:
        """The exit status and what stood on standard error. Raises what the stream of the
        input raised, if it did."""
        ended = self._daemon.connection.patiently(lambda api: api.wait(self._name), self._cancel)
        for thread in self._threads:
            thread.join(self._daemon.connection.timeout)
        if self._error is not None:
            raise self._error
        return int(ended["StatusCode"]), bytes(self._errors).decode("utf-8", "replace").strip()

    def begin(self, client: APIClient, stack: ExitStack, stdin: Iterable[bytes] | None) -> None:
        """Attach and start."""
        self._stdout = self._open(client, stack, "stdout")
        stderr = self._open(client, stack, "stderr")
        into = self._open(client, stack, "stdin")
        self._daemon.connection.patiently(lambda api: api.start(self._name), self._cancel)
        self._thread(lambda: self._read_errors(stderr))
        self._thread(lambda: self._send(into, stdin or ()))

    def _open(self, client: APIClient, stack: ExitStack, stream: str) -> Any:
        wrapper = open_stream(client, self._name, {stream: 1, "stream": 1})
        owner: Any = getattr(wrapper, "_response", wrapper)
        stack.callback(owner.close)
        return getattr(wrapper, "_sock", wrapper)

    def _thread(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True, name="obuild-talk")
        self._threads.append(thread)
        thread.start()

    def _send(self, connection: Any, pieces: Iterable[bytes]) -> None:
        connection.settimeout(None)
        try:
            for piece in pieces:
                if self._cancel.is_set():
                    break
                connection.sendall(piece)
        except OSError:
            pass  # the container has ended; its status tells why
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            self._error = error
        with suppress(OSError, AttributeError):
            connection.shutdown(SHUT_WR)

    def _read_errors(self, connection: Any) -> None:
        with suppress(OSError, Cancelled):
            for piece in self._frames(connection, ping=False):
                self._errors += piece[: _MOST_ERRORS - len(self._errors)]

    def _frames(self, connection: Any, *, ping: bool) -> Iterator[bytes]:
        connection.settimeout(_LOOK)
        buffer = bytearray()
        heard = time.monotonic()
        while not self._cancel.is_set():
            try:
                data = connection.recv(_CHUNK)
            except TimeoutError:
                if ping and time.monotonic() - heard > _PING_AFTER:
                    self._daemon.connection.ping()
                    heard = time.monotonic()
                continue
            if not data:
                return
            heard = time.monotonic()
            buffer += data
            while len(buffer) >= _HEADER:
                end = _HEADER + int.from_bytes(buffer[4:_HEADER], "big")
                if len(buffer) < end:
                    break
                yield bytes(buffer[_HEADER:end])
                del buffer[:end]
        raise Cancelled("cancelled")


@contextmanager
def talk(
    daemon: Daemon, name: str, cancel: Event, stdin: Iterable[bytes] | None = None
) -> Iterator[Talk]:
    """Start the container of that name, which was made with ``listening``; the caller removes
    it. ``stdin``: what it gets; what this raises is raised by ``Talk.finish``."""
    with ExitStack() as stack:
        client = stack.enter_context(daemon.connection.client())
        talking = Talk(daemon, name, cancel)
        talking.begin(client, stack, stdin)
        yield talking


def listening(config: Mapping[str, Any]) -> dict[str, Any]:
    """The container, to be attached to."""
    streams = ("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce")
    return {**config, **dict.fromkeys(streams, True)}


def last_words(text: str) -> str:
    """The last line that a tool wrote, for a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it does not say why"


def failed(what: str, status: int, words: str) -> EngineError:
    return EngineError(f"{what} failed with status {status}: {last_words(words)}")
