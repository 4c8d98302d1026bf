"""Running other programs: quietly, with a deadline, and with their words if they fail."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = [
    "SetupError",
    "cache_folder",
    "end_in_good_order",
    "is_root",
    "locked",
    "output",
    "run",
    "say",
]


class SetupError(Exception):
    """Something cannot be set up; the message says what to do."""


def say(message: str) -> None:
    print(f"setup: {message}", file=sys.stderr, flush=True)


def end_in_good_order() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what it started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def is_root() -> bool:
    return os.geteuid() == 0


def cache_folder() -> Path:
    """Where downloads and Debian roots are kept from one run to the next."""
    if is_root():
        path = Path("/var/cache/obuild-tests")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        path = Path(base) / "obuild-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; others wait for their turn."""
    with (cache_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    arguments: Sequence[str | Path],
    *,
    deadline: float = 900,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a program to its end. Raises ``SetupError`` with the tail of what it printed.

    The output goes to a file, not a pipe: a daemon that the program leaves behind may hold
    it open for ever.
    """
    code, text = _run(arguments, deadline, env, cwd)
    if code != 0:
        tail = "\n".join(text.strip().splitlines()[-12:])
        raise SetupError(f"`{' '.join(map(str, arguments))}` failed ({code}):\n{tail}")


def output(arguments: Sequence[str | Path], *, deadline: float = 60) -> str | None:
    """What a program prints, None if it cannot be run or fails."""
    try:
        done = subprocess.run(
            list(map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=deadline,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _run(
    arguments: Sequence[str | Path], deadline: float, env: dict[str, str] | None, cwd: Path | None
) -> tuple[int, str]:
    with tempfile.TemporaryFile() as log:
        try:
            code = subprocess.run(
                list(map(str, arguments)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=deadline,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                check=False,
            ).returncode
        except OSError as error:
            return 127, str(error)
        except subprocess.TimeoutExpired:
            return 124, f"not done within {deadline:.0f} seconds"
        log.seek(0)
        return code, log.read().decode("utf-8", "replace")
