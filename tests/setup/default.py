"""The machine's own Docker engine, at the default socket, for ``make hello``."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.setup import client, debian
from tests.setup.processes import command, spawn, tail, until
from tests.setup.shell import SetupError, is_root, output, run, say

__all__ = ["ensure_default", "is_running"]

_START_DEADLINE = 90.0
_LOG = Path("/var/log/obuild-dockerd.log")


def ensure_default() -> str:
    """Make sure that an engine answers where the user's ``docker`` would look for one.

    Returns its version. What answers already is used as it is; otherwise root gets Debian's
    ``docker.io`` installed and started. Raises ``SetupError`` with what to do.
    """
    host = client.default_host()
    found = client.version(host)
    if found is not None:
        return found
    if host != f"unix://{client.DEFAULT_SOCKET}":
        raise SetupError(
            f"no Docker engine answers at {host}, which DOCKER_HOST or your docker context "
            "names: start it, or unset that to use (and, as root, to install) one of this machine"
        )
    if not is_root():
        raise SetupError(
            "no Docker engine answers: start yours (sudo systemctl start docker), or run this "
            "as root to have Debian's docker.io installed and started"
        )
    if shutil.which("dockerd") is None or debian.is_half_installed("docker.io"):
        debian.install("docker.io", "ca-certificates")
    say("starting the Docker engine")
    _start()
    found = client.version(host)
    if found is None:
        raise SetupError(f"the Docker engine does not start; its log ends:\n{_log_tail()}")
    return found


def _start() -> None:
    host = client.default_host()
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "docker"], deadline=_START_DEADLINE)
        until(lambda: client.version(host, 5) is not None, _START_DEADLINE)
        return
    process = None
    if not is_running(Path("/var/run/docker.pid"), "dockerd"):
        is_running(Path("/var/run/docker/containerd/containerd.pid"), "containerd")
        _prepare_cgroups()
        process = spawn(["dockerd"], _LOG)

    def settled() -> bool:
        return client.version(host, 5) is not None or (process is not None and bool(process.poll()))

    until(settled, _START_DEADLINE)


def is_running(pid_file: Path, program: str) -> bool:
    """Whether the process of a pid file lives; a stale file is removed.

    A killed daemon leaves its file. When the number has gone to some other process since,
    the next daemon takes that one for itself and refuses to start.
    """
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        pid = 0
    if pid and command(pid) == program:
        return True
    pid_file.unlink(missing_ok=True)
    return False


def _prepare_cgroups(folder: Path = Path("/sys/fs/cgroup")) -> None:
    """Control groups as runc needs them, on a machine where no systemd has made them."""
    if not any(line.split()[2].startswith("cgroup") for line in _mounts()):
        run(["mount", "-t", "cgroup2", "cgroup2", folder])
    # Inside a container the top group is not the kernel's root (only other groups have a
    # type), and a group with processes may not give controllers to groups below it.
    if (folder / "cgroup.type").exists() and (folder / "cgroup.controllers").exists():
        below = folder / "init"
        below.mkdir(exist_ok=True)
        for pid in (folder / "cgroup.procs").read_text().split():
            (below / "cgroup.procs").write_text(pid)
        controllers = (folder / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{name}" for name in controllers)
        (folder / "cgroup.subtree_control").write_text(wanted)


def _mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def _log_tail() -> str:
    if Path("/run/systemd/system").is_dir():
        return output(["journalctl", "-u", "docker", "-n", "8", "--no-pager"]) or ""
    return tail(_LOG)
