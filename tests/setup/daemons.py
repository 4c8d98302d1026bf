"""Docker engines of the tests' own.

Each has its own data, socket, pid file and namespaces, so that another engine on the machine
goes undisturbed. (A second dockerd in one network namespace would remove the first one's
bridge.) Such an engine sees no network but its own, and has no way out.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.setup import client
from tests.setup.processes import birth, command, descendants, send, spawn, tail, until
from tests.setup.shell import SetupError, is_root, output

__all__ = ["CLASSIC", "CONTAINERD", "UNSAID", "Daemon"]

CLASSIC, CONTAINERD, UNSAID = "false", "true", "none"
"""Where an engine keeps images; ``UNSAID`` for versions that know one place only."""

_START_DEADLINE = 90.0
_STOP_DEADLINE = 30.0
_SERVE = Path(__file__).resolve().with_name("serve.sh")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A dockerd of the tests' own. ``root`` is where it is installed: ``/`` or a Debian root.

    All of it lies in two folders, ``/run/obuild-tests/NAME`` and
    ``/var/lib/obuild-tests/NAME``.
    """

    name: str
    root: Path
    image_store: str

    @property
    def run_folder(self) -> Path:
        return Path("/run/obuild-tests") / self.name

    @property
    def state_folder(self) -> Path:
        return Path("/var/lib/obuild-tests") / self.name

    @property
    def host(self) -> str:
        return f"unix://{self.run_folder}/docker.sock"

    @property
    def log(self) -> Path:
        return self.run_folder / "log"

    def keeper(self) -> int | None:
        """The process whose end ends the engine with all its containers; it stands in the
        engine's network namespace. None if it does not run."""
        try:
            pid, born = (self.run_folder / "keeper").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if birth(int(pid)) == born else None

    def pid(self) -> int | None:
        """The process of dockerd itself."""
        keeper = self.keeper()
        found = [pid for pid in descendants(keeper) if command(pid) == "dockerd"] if keeper else []
        return found[0] if found else None

    def start(self) -> None:
        """Start it, or take it as it is if it answers. Raises ``SetupError``."""
        if self.keeper() is not None:
            self._wait()
            return
        if not is_root():
            raise SetupError(f"only root can start the engine {self.name}")
        for folder in (self.run_folder, self.state_folder):
            folder.mkdir(parents=True, exist_ok=True)
        if (output(["stat", "-f", "-c", "%T", self.state_folder]) or "").startswith("overlay"):
            raise SetupError(
                f"{self.state_folder} lies on an overlay (is this a container?), where an engine "
                f"cannot stand: mount a volume at {self.state_folder.parent}"
            )
        shutil.rmtree(self.run_folder / "exec", ignore_errors=True)
        arguments: list[str | Path] = ["unshare", "--mount", "--net", "--pid", "--fork"]
        arguments += ["--kill-child", "bash", _SERVE, self.root, self.run_folder]
        arguments += [self.state_folder, f"obuild-{self.name}", self.image_store, sys.executable]
        process = spawn(arguments, self.log)
        (self.run_folder / "keeper").write_text(f"{process.pid} {birth(process.pid)}")
        self._wait(process)

    def stop(self) -> None:
        """End it in good order: containers are stopped, the socket is gone."""
        keeper, pid = self.keeper(), self.pid()
        if pid is not None:
            send(pid, signal.SIGTERM)
            until(lambda: self.keeper() is None, _STOP_DEADLINE)
        if keeper is not None and self.keeper() is not None:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End it and all its containers at once, as a power cut does."""
        keeper = self.keeper()
        if keeper is not None:
            send(keeper, signal.SIGKILL)
            if not until(lambda: self.keeper() is None, _STOP_DEADLINE):
                raise SetupError(f"the engine {self.name} (process {keeper}) cannot be killed")

    def remove(self) -> None:
        """Stop it and delete all that it kept."""
        self.stop()
        shutil.rmtree(self.state_folder, ignore_errors=True)
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def _wait(self, process: subprocess.Popen[bytes] | None = None) -> None:
        def settled() -> bool:
            ended = process.poll() is not None if process else self.keeper() is None
            return ended or client.version(self.host, 5) is not None

        until(settled, _START_DEADLINE)
        if client.version(self.host, 5) is None:
            raise SetupError(f"the engine {self.name} does not start:\n{tail(self.log)}")

    def _forget(self) -> None:
        for name in ("keeper", "pid", "docker.sock"):
            (self.run_folder / name).unlink(missing_ok=True)
