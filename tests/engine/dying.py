"""A process that replaces the files of a cache, and is killed on the way: see test_caches.

``python -m tests.engine.dying HOST PREFIX FOLDER BASE AT`` runs a step on the snapshot ``BASE``
and kills itself before the ``AT``-th call about volumes; of a copy of files, if that is the
call, only the beginning is sent. FOLDER holds the locks. It prints ``done`` if it lives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

from obuild.engine import RunCommand
from obuild.engine.docker import DockerEngine
from obuild.engine.docker.volumes import Volumes
from obuild.ir.ops import Cache, UnixUser
from obuild.ir.steps import RunStep
from obuild.store.locks import Locks

__all__ = ["KEY", "main"]

KEY = "d" * 64
_SOME = 5 * 512


class _Calls:
    def __init__(self, last: int):
        self._left = last

    def wrap(self, call: Callable[..., Any], *, sends: bool = False) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not sends:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._left == 0:
                volume, name, owner, pieces, cancel = arguments
                return call(volume, name, owner, _beginning(pieces), cancel)
            return call(*arguments, **named)

        return counted


def _beginning(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[:_SOME]
        Event().wait(0.3)  # until the daemon has written it
        os.kill(os.getpid(), signal.SIGKILL)


def main(host: str, prefix: str, folder: str, base: str, at: int) -> None:
    calls = _Calls(at)
    for name in ("create", "remove", "labels"):
        setattr(Volumes, name, calls.wrap(getattr(Volumes, name)))
    Volumes.write = calls.wrap(Volumes.write, sends=True)  # type: ignore[method-assign]
    locks = Locks(os.open(folder, os.O_RDONLY), folder)
    engine = DockerEngine(prefix, host=host, lock=locks.hold, emit=lambda _: None)
    cmd = "cd /c; rm old*; for i in 1 2 3 4 5 6 7 8; do echo $i > new$i; done"
    caches = (Cache("a", "/c"),)
    step = RunStep("/", UnixUser(0, 0), (), cmd, ("/bin/sh", "-c"), (), caches=caches)
    with locks.hold(KEY, Event(), lambda: None):
        engine.execute(KEY, base, RunCommand(step), lambda _: None, Event())
    engine.close()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
