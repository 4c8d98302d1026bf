"""What an OCI runtime is told of one run: the value of a bundle's ``config.json``.

The form is that of the OCI runtime specification 1.0.2 (``config.md``, ``config-linux.md``);
capabilities, hidden and read-only paths and device rules are those of a container that Docker
starts without options. A bundle is a folder with ``config.json`` and ``rootfs``.

What runc 1.1 and crun 1.8 do with it, found by trying:

- A working directory that is missing is made, with those above it: mode 0755, owner 0:0,
  whoever the command runs as; it stays. One that is no directory fails the start.
- Where something is mounted a missing directory, or empty file, is made in ``rootfs`` and
  stays: ``/dev``, ``/proc``, ``/sys`` and the targets of ``mounts``. All else that the
  runtime makes lies in the mounts.
- Without a new user namespace in a configuration, in a process that is in one already, device
  nodes are bound from the host's, as nobody may make them there. A new ``sysfs`` needs a
  network namespace made from inside, else the host's is bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from obuild.engine import Limits
from obuild.values import Value

__all__ = ["CAPABILITIES", "HOST_NETWORK", "NO_NETWORK", "Mount", "bind", "oci_config"]

_CAPABILITIES = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
    NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())

NO_NETWORK = "none"
HOST_NETWORK = "host"

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_CPU_PERIOD = 100_000  # microseconds, the kernel's default
_CPU_LEAST = 1_000  # the kernel takes no smaller quota

_SAFE = ("nosuid", "noexec", "nodev")


class Mount(Value):
    """A file or folder ``source`` of the host, seen at ``target``, an absolute guest path.

    Whatever is mounted below ``source`` is seen with it.
    """

    source: str
    target: str
    read_only: bool = False


def oci_config(
    *,
    args: Sequence[str],
    env: Sequence[tuple[str, str]],
    cwd: str,
    uid: int,
    gid: int,
    hostname: str,
    network: str,
    rootless: bool,
    mounts: Sequence[Mount] = (),
    seccomp: dict[str, Any] | None = None,
    limits: Limits | None = None,
    cgroup: str | None = None,
    no_new_privileges: bool = True,
    shm_size: int = 64 << 20,
) -> dict[str, Any]:
    """The configuration of a run of ``args``, which are looked for on the PATH of ``env``.

    ``network``: ``NO_NETWORK`` (a loopback of its own and nothing else), ``HOST_NETWORK``, or
    the path of a network namespace. ``rootless``: the runtime will be in a user namespace
    already. ``cgroup``: the control group's path, as ``Cgroups`` gives it; None: the runtime
    manages none, and ``limits`` must not hold any. ``no_new_privileges`` False: set-user-id
    programs such as sudo work. ``shm_size``: bytes of ``/dev/shm``.
    """
    wanted = limits or Limits()
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if network == NO_NETWORK:
        namespaces.append({"type": "network"})
    elif network != HOST_NETWORK:
        namespaces.append({"type": "network", "path": network})
    linux: dict[str, Any] = {
        "namespaces": namespaces,
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    if cgroup is not None:
        linux["cgroupsPath"] = cgroup
        linux["resources"] = _resources(wanted)
    if seccomp is not None:
        linux["seccomp"] = seccomp
    bound_sys = rootless and network != NO_NETWORK
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid, "umask": 0o022},
            "args": list(args),
            "env": [f"{name}={value}" for name, value in env],
            "cwd": cwd,
            "capabilities": _capabilities(uid),
            "noNewPrivileges": no_new_privileges,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": hostname,
        "mounts": [*_system(shm_size, bound_sys=bound_sys), *map(bind, mounts)],
        "linux": linux,
    }


def _capabilities(uid: int) -> dict[str, list[str]]:
    """None is inheritable: a program with file capabilities would get it for any user."""
    held = list(CAPABILITIES) if uid == 0 else []
    return {"bounding": list(CAPABILITIES), "effective": held, "permitted": held}


def _resources(limits: Limits) -> dict[str, Any]:
    """No device may be used but those that runtimes always allow: null, zero, full, random,
    urandom, tty, terminals. Nodes of others can be made, not opened."""
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if limits.memory is not None:
        resources["memory"] = {"limit": limits.memory}
    if limits.cpus is not None:
        quota = max(_CPU_LEAST, round(limits.cpus * _CPU_PERIOD))
        resources["cpu"] = {"quota": quota, "period": _CPU_PERIOD}
    return resources


def _system(shm_size: int, *, bound_sys: bool) -> list[dict[str, Any]]:
    terminals = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    memory = (*_SAFE, "mode=1777", f"size={shm_size}")
    if bound_sys:
        sys = _mount("/sys", "none", "/sys", "rbind", *_SAFE, "ro")
    else:
        sys = _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro")
    return [
        _mount("/proc", "proc", "proc", *_SAFE),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *terminals),
        _mount("/dev/shm", "tmpfs", "shm", *memory),
        _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
        sys,
    ]


def bind(mount: Mount) -> dict[str, Any]:
    """The mount as a configuration has it."""
    access = "ro" if mount.read_only else "rw"
    return _mount(mount.target, "bind", mount.source, "rbind", "rprivate", access)


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
