"""The process in whose namespaces everything of the engine happens that needs them.

It is the first process of a pid namespace, has a mount namespace and, for users who are not
root, a user namespace in which it is. obuild talks to it through one socket. When obuild ends,
however it ends, the socket closes, the warden exits, and the kernel ends every process in its
pid namespace; with them go their mounts. So a build that is killed leaves no process and no
mount, and nobody need look for them.

A request is one packet: its number and what to do, as JSON, and descriptors: the arguments
(JSON, in a file in memory), the pipe for the answer, standard input, standard output. Each is
served by a forked child, which writes its answer and exits; a child that dies without one is
seen by the end of the pipe. A packet ``{"kill": NUMBER}`` ends a child, with what it started.

    python -c PROGRAM DESCRIPTOR root|user
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys

from obuild.engine.native import syscalls
from obuild.engine.native.inside import perform

__all__ = ["BEGIN", "MAPPED", "READY", "main"]

BEGIN = b"users"
"""The warden has a user namespace and waits for its maps."""
MAPPED = b"mapped"
"""The answer to that."""
READY = b"ready"

_PACKET = 1 << 12
_DESCRIPTORS = 4


def main(descriptor: int, *, root: bool) -> None:
    """Serve until the other end of the socket closes. Does not return."""
    control = socket.socket(fileno=descriptor)
    try:
        _enter(control, root=root)
    except OSError as error:
        control.send(json.dumps({"error": error.strerror, "at": str(error.filename)}).encode())
        os._exit(1)
    _Warden(control).serve()


def _enter(control: socket.socket, *, root: bool) -> None:
    """Into the namespaces; returns in the first process of the pid namespace."""
    if not root:
        syscalls.unshare(syscalls.NEW_USERS)
        control.send(BEGIN)
        if control.recv(_PACKET) != MAPPED:
            os._exit(0)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.setgroups([])
    syscalls.unshare(syscalls.NEW_MOUNTS | syscalls.NEW_PIDS)
    syscalls.mount(b"none", b"/", None, syscalls.RECURSIVE | syscalls.PRIVATE)
    if child := os.fork():
        control.close()
        os.waitpid(child, 0)
        os._exit(0)
    safe = syscalls.NO_SUID | syscalls.NO_DEVICES | syscalls.NO_EXEC
    syscalls.mount(b"proc", b"/proc", b"proc", safe)
    os.umask(0o022)
    control.send(READY)


class _Warden:
    def __init__(self, control: socket.socket):
        self._control = control
        self._children: dict[int, int] = {}

    def serve(self) -> None:
        # A signal that has no handler does not reach the first process of a pid namespace.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._control.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, _PACKET)
                self._reap()
            if self._control.fileno() in ready:
                self._take()

    def _take(self) -> None:
        packet, descriptors, _, _ = socket.recv_fds(self._control, _PACKET, _DESCRIPTORS)
        if not packet:
            os._exit(0)
        for each in descriptors:
            os.set_inheritable(each, False)
        request = json.loads(packet)
        if "kill" in request:
            self._kill(request["kill"])
        else:
            self._begin(request["number"], request["task"], descriptors)
        for each in descriptors:
            os.close(each)

    def _begin(self, number: int, task: str, descriptors: list[int]) -> None:
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._control.close()
                perform(task, *descriptors)
            finally:
                os._exit(1)
        # Both do it; whoever comes second may find that it has ended.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        self._children[child] = number

    def _kill(self, number: int) -> None:
        for child, its in self._children.items():
            if its == number:
                os.killpg(child, signal.SIGKILL)

    def _reap(self) -> None:
        """Orphans of the pid namespace come here, too."""
        while True:
            try:
                child, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            self._children.pop(child, None)


if __name__ == "__main__":
    main(int(sys.argv[1]), root=sys.argv[2] == "root")
