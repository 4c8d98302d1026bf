"""Running obuild and ``docker build``: time and peak memory of one whole process."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests import engines
from tests.setup.daemons import Daemon
from tests.setup.shell import SetupError, output

__all__ = ["Measure", "Programs", "own_daemon"]


@dataclass(frozen=True, slots=True)
class Measure:
    """``seconds`` of wall time, ``peak`` resident memory in bytes."""

    seconds: float
    peak: int


@dataclass(frozen=True, slots=True)
class Programs:
    """Both programs, set up for one engine and one store. ``folder`` is for their files."""

    host: str
    docker: Path
    environ: dict[str, str]
    folder: Path

    @classmethod
    def find(cls, host: str, daemon: Daemon | None, folder: Path) -> Programs:
        """With the ``docker`` command that came with the engine, or else the user's."""
        root = daemon.root if daemon else Path("/")
        docker = root / "usr/bin/docker"
        if daemon is None or not docker.exists():
            docker = Path(shutil.which("docker") or "/usr/bin/docker")
        if output([docker, "--version"]) is None:
            raise SetupError(f"no docker command to compare with: {docker} does not run")
        settings = folder / "docker-config"
        settings.mkdir()
        plugins = [str(root / "usr/libexec/docker/cli-plugins")]
        (settings / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": plugins}))
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "DOCKER_HOST": host,
            "DOCKER_CONFIG": str(settings),
            "DOCKER_BUILDKIT": "1",
            "OBUILD_STORE": f"docker:{folder / 'store'}",
        }
        return cls(host, docker, environ, folder)

    def obuild(self, spec: Path, context: Path, *options: str) -> Measure:
        script = Path(sys.executable).with_name("obuild")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "obuild"]
        how = ["--progress", "plain", *options]
        return self.run([*program, "run", *how, str(spec), str(context)])

    def docker_build(self, dockerfile: Path, context: Path, *, cached: bool) -> Measure:
        how = [] if cached else ["--no-cache"]
        files = ["-f", str(dockerfile), str(context)]
        tag = ["-t", "obuild-test/bench"]
        return self.run([str(self.docker), "build", "--progress=plain", *how, *tag, *files])

    def clean(self) -> None:
        script = [sys.executable, "-m", "obuild", "clean"]
        self.run(script)

    def run(self, command: list[str]) -> Measure:
        """Any program in the same environment. Raises ``SetupError`` if it fails.

        The peak is the kernel's, for the program itself, not for its children.

        The kernel counts what a process was before it became another program, so a peak
        is never below that of the bench itself, some 50 MB.
        """
        log = self.folder / "log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        begin = time.perf_counter()
        pid = os.posix_spawnp(command[0], command, self.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            tail = log.read_text("utf-8", "replace")[-3000:]
            raise SetupError(f"`{' '.join(command)}` failed ({code}):\n{tail}")
        return Measure(seconds, usage.ru_maxrss * 1024)


def own_daemon(name: str) -> Daemon | None:
    """An engine of the bench's own for that name; None for ``docker``, the user's own."""
    return None if name == "docker" else engines.daemon_of(name, f"bench-{name}")
