"""Talking to the warden: starting it, asking it, ending what it does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from threading import Lock
from typing import Any

from obuild import errors
from obuild.engine import Cancel
from obuild.engine.native.warden import BEGIN, MAPPED, READY
from obuild.errors import Cancelled, EngineError, EngineUnavailable, ObuildError

__all__ = ["Call", "Calls"]

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from obuild.engine.native.warden import main;"
    " main(int(sys.argv[1]), root=sys.argv[2] == 'root')"
)
_PACKET = 1 << 12
_LOOK = 0.2
"""Seconds after which a flag is looked at again."""
_CHUNK = 1 << 16
_SENT = 1 << 20

Maps = Callable[[int], None]
"""Gives the user namespace of a process, by its id, its maps."""


class Calls:
    """Asks the warden, which is started when it is first needed. For any thread.

    ``maps`` is called once; None: obuild is run by root, and no user namespace is needed.
    """

    def __init__(self, maps: Callable[[], Maps] | None):
        self.root = maps is None
        self._maps = maps
        self._lock = Lock()
        self._numbers = count(1)
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        cancel: Cancel | None = None,
        *,
        feed: bool = False,
        receive: bool = False,
        source: int | None = None,
    ) -> Call:
        """Begin a task. ``feed``: its standard input will be written to; ``source``: a
        descriptor that it is instead; ``receive``: its standard output will be read.

        Raises ``EngineUnavailable`` if no warden can be had.
        """
        ours, theirs = [], []
        try:
            arguments_file = os.memfd_create("arguments", os.MFD_CLOEXEC)
            theirs.append(arguments_file)
            with os.fdopen(os.dup(arguments_file), "wb") as written:
                written.write(json.dumps(arguments).encode())
            os.lseek(arguments_file, 0, os.SEEK_SET)
            answer, answered = os.pipe()
            ours.append(answer)
            theirs.append(answered)
            fed = taken = -1
            if feed:
                given, fed = os.pipe()
                ours.append(fed)
            else:
                given = os.open(os.devnull, os.O_RDONLY) if source is None else os.dup(source)
            theirs.append(given)
            if receive:
                taken, shown = os.pipe()
                ours.append(taken)
            else:
                shown = os.open(os.devnull, os.O_WRONLY)
            theirs.append(shown)
            number = self._send({"task": task}, theirs)
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return Call(self, number, cancel, answer, fed, taken)

    def ask(
        self, task: str, arguments: Mapping[str, Any], cancel: Cancel | None = None
    ) -> dict[str, Any]:
        """Begin a task that neither takes nor gives a stream; its answer."""
        with self.call(task, arguments, cancel) as call:
            return call.answer()

    def kill(self, number: int) -> None:
        control = self._control
        if control is not None:
            with contextlib.suppress(OSError):  # the warden is gone, and all that it did
                control.send(json.dumps({"kill": number}).encode())

    def close(self) -> None:
        """End the warden, and with it everything that it does."""
        with self._lock:
            control, process = self._control, self._process
            self._control = self._process = None
        if control is not None:
            control.close()
        if process is not None:
            process.wait()

    def _send(self, request: dict[str, Any], descriptors: list[int]) -> int:
        number = next(self._numbers)
        packet = json.dumps({**request, "number": number}).encode()
        try:
            socket.send_fds(self._connected(), [packet], descriptors)
        except OSError as error:
            raise EngineError(
                f"the process that the steps run under does not answer: {error.strerror}",
                hint="run the build again",
            ) from error
        return number

    def _connected(self) -> socket.socket:
        with self._lock:
            if self._control is None:
                self._control = self._start()
            return self._control

    def _start(self) -> socket.socket:
        maps = None if self._maps is None else self._maps()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Without the site module, and away from the terminal's Ctrl-C.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-S", "-c", _PROGRAM),
                    str(theirs.fileno()),
                    "root" if maps is None else "user",
                    *sys.path,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        try:
            packet = ours.recv(_PACKET)
            if packet == BEGIN and maps is not None:
                maps(self._process.pid)
                ours.send(MAPPED)
                packet = ours.recv(_PACKET)
            if packet != READY:
                raise _not_started(packet, root=maps is None)
        except BaseException:
            ours.close()
            self._process.wait()
            raise
        return ours


class Call:
    """A task in work. Leaving the ``with`` block ends it, if it is not over."""

    def __init__(
        self,
        calls: Calls,
        number: int,
        cancel: Cancel | None,
        answer: int,
        fed: int,
        taken: int,
    ):
        self._calls = calls
        self._number = number
        self._cancel = cancel
        self._answer = answer
        self._fed = fed
        self._taken = taken
        self._told = b""
        self._over = False

    def feed(self, pieces: Iterator[bytes]) -> None:
        """Write to its standard input, to the end. If the task ends before, the rest is not
        asked for; ``answer`` tells why. What ``pieces`` raises goes through."""
        os.set_blocking(self._fed, False)
        for piece in pieces:
            left = memoryview(piece)
            while left:
                if not self._ready(self._fed, write=True):
                    continue
                try:
                    left = left[os.write(self._fed, left[:_SENT]) :]
                except BrokenPipeError:
                    return
        os.close(self._fed)
        self._fed = -1

    def output(self) -> Iterator[bytes]:
        """What it writes to its standard output, as it comes."""
        while True:
            if self._ready(self._taken):
                piece = os.read(self._taken, _CHUNK)
                if not piece:
                    return
                yield piece

    def line(self) -> dict[str, Any]:
        """The next part of the answer. Raises the error that it tells of."""
        while b"\n" not in self._told:
            if self._ready(self._answer):
                piece = os.read(self._answer, _CHUNK)
                if not piece:
                    self._over = True
                    raise EngineError(
                        "a process of obuild's ended without an answer",
                        hint="perhaps there was not enough memory; see `dmesg`",
                    )
                self._told += piece
        text, _, self._told = self._told.partition(b"\n")
        found: dict[str, Any] = json.loads(text)
        if "error" in found:
            self._over = True
            raise _error(found)
        return found

    def answer(self) -> dict[str, Any]:
        """Its answer, when it is done."""
        found = self.line()
        self._over = True
        return found

    def _ready(self, descriptor: int, *, write: bool = False) -> bool:
        """Whether something can be read (or written) by now; waits for it a little."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("cancelled")
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if write else select.POLLIN)
        return bool(poll.poll(_LOOK * 1000))

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._over:
            self._calls.kill(self._number)
        for descriptor in (self._fed, self._taken):
            if descriptor >= 0:
                os.close(descriptor)
        if not self._over:
            while os.read(self._answer, _CHUNK):  # until it is gone
                continue
        os.close(self._answer)


def _error(found: Mapping[str, Any]) -> ObuildError:
    kind = getattr(errors, found["error"])
    made = kind(found["message"], hint=found.get("hint"))
    assert isinstance(made, ObuildError)
    return made


def _not_started(packet: bytes, *, root: bool) -> EngineUnavailable:
    if not packet:
        return EngineUnavailable("the process that steps run under ended at once")
    found = json.loads(packet)
    what = f"{found['at']}: {found['error']}"
    if root:
        hint = "root may do that, unless this is a container without the capability SYS_ADMIN"
    else:
        hint = "see `obuild healthcheck --store overlayfs:PATH` for what this host lacks"
    return EngineUnavailable(f"no namespaces can be made ({what})", hint=hint)
