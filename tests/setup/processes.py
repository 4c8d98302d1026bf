"""Processes: starting them so that they live on, finding them, ending them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["birth", "command", "descendants", "send", "spawn", "tail", "until"]


def spawn(arguments: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives this one and holds none of its files open."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(
            list(map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            close_fds=True,
            cwd="/",
            env={**os.environ, "PATH": path},
        )


def until(done: Callable[[], bool], deadline: float) -> bool:
    """Wait until ``done`` says so, at most ``deadline`` seconds; whether it did."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.1)
    return done()


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is gone already is as good."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, [] for no such process or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def birth(pid: int) -> str | None:
    """When the process began: with its number it names one process for good. None: gone."""
    fields = _stat(pid)
    return fields[19] if fields else None


def command(pid: int) -> str | None:
    """The short name of the program that a process runs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        fields = _stat(int(entry)) if entry.isdigit() else []
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-8:])
    except OSError as error:
        return str(error)
