"""obuild as a program, run to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Obuild"]

_DEADLINE = 120.0


@dataclass(frozen=True, slots=True)
class Obuild:
    """Runs obuild in an environment: ``obuild("run", FILE, cwd=…, env=…)``."""

    environ: dict[str, str] = field(repr=False)

    def __call__(
        self,
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = _DEADLINE,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """The finished process; its output is bytes. ``env`` is set over the environment.

        A program that is not done after ``timeout`` seconds is killed with its children, and
        the test fails.
        """
        process = self.start(*arguments, cwd=cwd, env=env)
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"not done after {timeout} s: obuild {arguments}\n{out!r}\n{err!r}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(
        self,
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start it only, all three streams as pipes, in a process group of its own.

        Whoever starts it waits for it.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "obuild", *arguments],
            cwd=cwd,
            env={**self.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
