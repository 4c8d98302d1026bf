"""A registry of the tests' own, on the loopback interface that an engine sees."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.setup import debian
from tests.setup.shell import SetupError, output

__all__ = ["program", "serve"]

_DEADLINE = 20.0
_CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def program() -> Path:
    """Debian's docker-registry: installed, or unpacked in the cache folder."""
    installed = shutil.which("docker-registry")
    path = (
        Path(installed)
        if installed
        else debian.unpack("docker-registry") / "usr/bin/docker-registry"
    )
    if not path.exists():
        raise SetupError(f"the package docker-registry has no {path}")
    return path


@contextlib.contextmanager
def serve(folder: Path, neighbour: int) -> Iterator[str]:
    """Run a registry on the loopback interface of the process ``neighbour``; ``HOST:PORT``.

    An engine may have a network namespace of its own, and then sees no other loopback.
    """
    enter = _enter(neighbour)
    port = _free_port(bool(enter))
    settings = folder / "registry.yml"
    settings.write_text(_CONFIGURATION.format(folder=folder, port=port))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [*enter, str(program()), "serve", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait(process, enter, port, folder / "registry.log")
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _enter(neighbour: int) -> list[str]:
    if os.stat(f"/proc/{neighbour}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
        return []
    return ["nsenter", f"--net=/proc/{neighbour}/ns/net", "--"]


def _free_port(elsewhere: bool) -> int:
    if elsewhere:  # nobody else is there
        return 5000 + os.getpid() % 20000
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], enter: list[str], port: int, log: Path) -> None:
    question = [*enter, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end and process.poll() is None:
        if output(question, deadline=5) is not None:
            return
        time.sleep(0.1)
    raise SetupError(f"the registry does not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
