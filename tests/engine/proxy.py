"""A socket before a daemon's that can be made to say nothing any more, or to break off."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Passes everything on until ``freeze()``; then connections are accepted, and silent: what
    a daemon that was stopped looks like."""

    def __init__(self, host: str | None):
        self._target = None if host is None else host.removeprefix("unix://")
        self._folder = tempfile.TemporaryDirectory(prefix="obuild-test-")
        self._path = os.path.join(self._folder.name, "docker.sock")
        self._running = threading.Event()
        self._running.set()
        self._refused: bytes | None = None
        self._open: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self._path)
        self._server.listen()

    @property
    def host(self) -> str:
        return f"unix://{self._path}"

    def freeze(self) -> None:
        self._running.clear()

    def refuse(self, words: bytes) -> None:
        """From now on a request with ``words`` in it ends its connection, unanswered."""
        self._refused = words

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in (self._server, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._server.accept()
                self._open.append(here)
                if self._target is None or not self._running.is_set():
                    continue
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._target)
                self._open.append(there)
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self._running.is_set():
                    return
                if self._refused is not None and self._refused in data:
                    for end in (source, target):
                        end.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
