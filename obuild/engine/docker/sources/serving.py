"""The tools of a guest at work: ``libexec/serve.bash`` in a container, asked and answered.

The guest is not trusted: what it sends is bounded, and read to where it must end. A guest that
sends nothing is waited for, as long as the daemon lives: it may be slow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any

from obuild.engine.docker.attach import open_stream
from obuild.engine.docker.daemon import Daemon
from obuild.errors import Cancelled, EngineUnavailable, ObuildError, SourceError

__all__ = ["Answer", "Serving", "ToolsMissing", "begin"]

_LOOK = 0.1
_PING_AFTER = 5.0
_RECEIVED = 1 << 17
_HEADER = 8
_STDOUT = 1
_LONGEST_WORDS = 1 << 13
_LONGEST_STATUS = 8
_TIME_TO_END = 3.0

Answer = tuple[int, str]
"""The status of the tools, and what they said."""


class ToolsMissing(Exception):
    """The guest has not what is needed; the text says what. No user sees it."""


class Serving:
    """One container whose tools are asked. For one thread at a time."""

    def __init__(
        self,
        connection: Any,
        cancel: Event,
        ping: Callable[[], None],
        lost: Callable[[], bool],
    ):
        self._lost = lost
        self._connection = connection
        self._cancel = cancel
        self._ping = ping
        self._raw = bytearray()
        self._data = bytearray()
        self.heard = bytearray()
        """What the tools said on standard error besides their answers, the last of it."""

    def await_tools(self) -> None:
        """Raises ``ToolsMissing`` also for a Bash that does anything else than its script."""
        try:
            status, words = self.answer()
        except SourceError as error:
            raise ToolsMissing(error.message) from None
        if status:
            raise ToolsMissing(words)

    def ask(self, *words: bytes) -> None:
        self._send(b"".join(word + b"\0" for word in words))

    def keep_list(self, name: bytes, names: Sequence[bytes]) -> None:
        """Raises ``SourceError`` if the guest cannot keep it."""
        content = b"".join(b"./" + item + b"\0" for item in names)
        self.ask(b"list", name, b"%d" % len(content))
        self._send(content)
        status, words = self.answer()
        if status:
            raise failed("a list of files cannot be kept in the other build", words)

    def text(self, longest: int) -> tuple[bytes, Answer]:
        """All up to the answer's end: what was asked for, of at most ``longest`` bytes, in
        which there is no NUL."""
        found = self._until_nul(longest)
        return found, self._rest_of_answer()

    def fields(self, count: int, longest: int) -> list[bytes]:
        """The next ``count`` texts that end in a NUL."""
        return [self._until_nul(longest) for _ in range(count)]

    def answer(self) -> Answer:
        """Where nothing is left but the answer's end."""
        if self.take(1) != b"\0":
            raise untrue("it sends more than it was asked for")
        return self._rest_of_answer()

    def take(self, size: int) -> bytes:
        """Exactly the next ``size`` bytes."""
        while len(self._data) < size:
            self._receive()
        found = bytes(self._data[:size])
        del self._data[:size]
        return found

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes as they come."""
        while size:
            if not self._data:
                self._receive()
            piece = bytes(self._data[:size])
            del self._data[:size]
            size -= len(piece)
            yield piece

    def _rest_of_answer(self) -> Answer:
        status = self._until_nul(_LONGEST_STATUS)
        words = self._until_nul(_LONGEST_WORDS)
        if not status.isdigit():
            raise untrue("its tools give no status")
        return int(status), words.decode("utf-8", "replace")

    def _until_nul(self, longest: int) -> bytes:
        seen = 0
        while (end := self._data.find(b"\0", seen)) < 0:
            seen = len(self._data)
            if seen > longest:
                break
            self._receive()
        if end < 0 or end > longest:
            raise untrue(f"it sends a text of more than {longest} bytes")
        found = bytes(self._data[:end])
        del self._data[: end + 1]
        return found

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._cancel.is_set():
                raise Cancelled("cancelled")
            try:
                sent = self._connection.send(view[:_RECEIVED])
            except TimeoutError:
                self._ping()  # it reads nothing; does the daemon live?
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self._ended() from None
            view = view[sent:]

    def _receive(self) -> None:
        """Wait for more; adds to the data. Raises ``SourceError`` at the end."""
        since, pinged = time.monotonic(), 0.0
        before = len(self._data)
        while len(self._data) == before:
            if self._cancel.is_set():
                raise Cancelled("cancelled")
            try:
                received = self._connection.recv(_RECEIVED)
            except TimeoutError:
                quiet = time.monotonic() - since
                if quiet - pinged > _PING_AFTER:
                    self._ping()
                    pinged = quiet
                continue
            except ConnectionResetError:
                received = b""
            if not received:
                raise self._ended()
            self._raw += received
            self._take_frames()

    def _take_frames(self) -> None:
        """Frames as the daemon makes them (see ``attach``), as far as they have come."""
        position, raw = 0, self._raw
        while len(raw) - position >= _HEADER:
            start = position + _HEADER
            end = start + int.from_bytes(raw[position + 4 : start], "big")
            if end > len(raw):
                break
            if raw[position] == _STDOUT:
                self._data += raw[start:end]
            else:
                self.heard += raw[start:end]
                del self.heard[:-_LONGEST_WORDS]
            position = end
        del raw[:position]

    def _ended(self) -> ObuildError:
        """The engine's fault or the guest's; of the guest's, what came last may be the answer
        of a tool that failed, or words of its own."""
        if self._lost():
            error = EngineUnavailable(
                "the connection to the other build's container was lost",
                hint="see whether `docker ps` answers",
            )
            error.passing = True
            return error
        parts = bytes(self._data[-_LONGEST_WORDS:]).split(b"\0")
        words = parts[-2] if len(parts) > 3 and parts[-3].isdigit() else bytes(self.heard)
        return untrue("its tools ended in the middle", words.decode("utf-8", "replace"))


def untrue(what: str, words: str = "") -> SourceError:
    """What the guest did instead of what it was told."""
    return failed(f"the other build's image cannot be copied from: {what}", words)


def failed(message: str, words: str) -> SourceError:
    said = " ".join(words.split())
    shown = "".join(c if c.isprintable() else "\ufffd" for c in said)[:500]
    hint = "its bash, coreutils or tar do not work as they should; without bash in the image"
    return SourceError(
        f"{message}: {shown}" if shown else message,
        hint=f"{hint} obuild reads its files itself",
    )


def _is_lost(daemon: Daemon, container: str) -> bool:
    """Whether it was not the tools that ended. Raises ``EngineUnavailable``."""
    end = time.monotonic() + _TIME_TO_END
    while (found := daemon.inspect_container(container)) is not None:
        if not found["State"]["Running"]:
            return False
        if time.monotonic() > end:
            return True
        time.sleep(_LOOK)  # its output ends a moment before it does
    return True  # removed by somebody


@contextmanager
def begin(daemon: Daemon, container: str, cancel: Event) -> Iterator[Serving]:
    """Start the container, made already, and wait until its tools are ready.

    Raises ``ToolsMissing`` if they are not all there, and ``DaemonError``.
    """
    connection = daemon.connection
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    with connection.client() as api:
        wrapper = open_stream(api, container, streams)
        owner: Any = getattr(wrapper, "_response", wrapper)
        try:
            plain = getattr(wrapper, "_sock", wrapper)
            plain.settimeout(_LOOK)
            connection.patiently(lambda starter: starter.start(container), cancel)
            serving = Serving(plain, cancel, connection.ping, lambda: _is_lost(daemon, container))
            serving.await_tools()
            yield serving
        finally:
            owner.close()
