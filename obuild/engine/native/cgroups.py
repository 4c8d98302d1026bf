"""Control groups: what of them is usable here, a step's group, and what is left of one.

Facts: cgroups(7), the kernel's ``cgroup-v2.rst`` and ``cgroup-v1/memory.rst``. The runtime makes
a step's group and puts the limits on it; here is the choice of its path, and the reading and
removing afterwards. All names begin with the store's prefix: what a killed build left is found
by them. A group that has processes cannot be removed, so a sweep never harms a living one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from obuild.engine import Limits
from obuild.errors import EngineUnavailable
from obuild.values import Value

__all__ = ["Cgroups", "exhausted", "find", "remove", "require", "step_path", "sweep"]

_PATIENCE = 2.0
"""Seconds in which the kernel is done with killed processes of a group."""

_INNER = "run"

_SLACK = 2 << 20
"""Memory is charged in portions; a group that met its limit has touched it but for one."""


class Cgroups(Value):
    """``version``: 1, 2, or 0 for none. ``mounts``: each controller's name and where its groups
    are; of version 2 one entry, ``unified``. ``hybrid``: where version 2 is mounted beside 1.
    ``controllers``: those in which groups may be made by us."""

    version: int
    mounts: tuple[tuple[str, str], ...]
    controllers: tuple[str, ...]
    hybrid: str | None = None


def find(process: str = "/proc/self") -> Cgroups:
    """What this process can do, by its files in ``/proc``."""
    with open(f"{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = [entry for line in file if (entry := _mount(line.split()))]
    first = {name: path for kind, path, names in found if kind == "cgroup" for name in names}
    second = next((path for kind, path, _ in found if kind == "cgroup2"), None)
    if first:
        usable = (name for name, path in first.items() if os.access(path, os.W_OK | os.X_OK))
        return Cgroups(1, tuple(sorted(first.items())), tuple(sorted(usable)), second)
    if second is None:
        return Cgroups(0, (), ())
    return Cgroups(2, (("unified", second),), _usable(second))


def _mount(fields: list[str]) -> tuple[str, str, tuple[str, ...]] | None:
    """Kind, folder and, of version 1, controllers of a line of ``mountinfo`` (proc(5))."""
    after = fields.index("-")
    kind, options = fields[after + 1], fields[-1].split(",")
    if kind == "cgroup":
        flags = {"rw", "ro", "xattr", "clone_children", "noprefix"}
        names = [each for each in options if each not in flags and "=" not in each]
        names += [each for each in options if each.startswith("name=")]
        return kind, fields[4], tuple(names)
    return (kind, fields[4], ()) if kind == "cgroup2" else None


def _usable(folder: str) -> tuple[str, ...]:
    """Controllers of version 2 that a group made in ``folder`` could have."""
    if not os.access(f"{folder}/cgroup.subtree_control", os.W_OK):
        return ()
    with open(f"{folder}/cgroup.controllers", encoding="ascii") as file:
        return tuple(sorted(file.read().split()))


def require(cgroups: Cgroups, limits: Limits, *, rootless: bool) -> None:
    """Raises ``EngineUnavailable`` if one of the limits cannot be put on a step here."""
    wanted = [("memory", limits.memory), ("cpu", limits.cpus)]
    for controller, limit in wanted:
        if limit is None:
            continue
        what = {"memory": "memory", "cpu": "CPU"}[controller]
        if rootless:
            raise EngineUnavailable(
                f"{what} limits need control groups, which only root's steps have",
                hint="run obuild as root, or without the limit, or under one:"
                f" `systemd-run --user --scope -p {_property(controller, limit)} obuild …`",
            )
        if cgroups.version == 0:
            raise EngineUnavailable(
                f"{what} limits need control groups, and none are mounted here",
                hint="mount them: `mount -t cgroup2 none /sys/fs/cgroup`",
            )
        if controller not in cgroups.controllers:
            raise EngineUnavailable(
                f"{what} limits need the control group controller {controller},"
                " which this host does not have or not let us use",
                hint="see /proc/cgroups; a kernel may need `cgroup_enable=memory` at its start;"
                " in a container, /sys/fs/cgroup must be writable",
            )


def _property(controller: str, limit: float) -> str:
    return f"MemoryMax={limit}" if controller == "memory" else f"CPUQuota={round(limit * 100)}%"


def step_path(name: str, limits: Limits) -> str:
    """The path that the runtime is told, for a step of that name (prefix and key).

    Of a step with a memory limit it is one folder deeper: the group above outlives the
    runtime, which removes its own, and remembers how much memory there was.
    """
    return f"/{name}" if limits.memory is None else f"/{name}/{_INNER}"


def exhausted(cgroups: Cgroups, name: str, limits: Limits) -> bool:
    """Whether a step that has ended met its memory limit; before ``remove``.

    Version 2 counts processes that the kernel ended for it; version 1 keeps the most that was
    in use, files that were read included, so it may say so of a step that went well.
    """
    if limits.memory is None:
        return False
    for controller, folder in cgroups.mounts:
        group = f"{folder}/{name}"
        if controller == "unified":
            return _count(_read(f"{group}/memory.events"), "oom_kill") > 0
        if controller == "memory":
            peak = _read(f"{group}/memory.max_usage_in_bytes").strip()
            return peak.isdigit() and int(peak) >= limits.memory - _SLACK
    return False


def _count(events: str, name: str) -> int:
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get(name, 0))


def _read(path: str) -> str:
    """Empty where the group was never made."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def remove(cgroups: Cgroups, name: str) -> None:
    """Remove the groups of a step whose processes are dead, or dying. What is not there is no
    error; a group that stays in use is left for ``sweep``."""
    end = time.monotonic() + _PATIENCE
    left = _groups(cgroups, [name])
    while left := [each for each in left if not _gone(each)]:
        if time.monotonic() > end:
            return
        time.sleep(0.01)


def sweep(cgroups: Cgroups, prefix: str) -> Sequence[str]:
    """Remove all groups without processes whose names begin with ``prefix``; their names."""
    removed = set()
    for folder in _folders(cgroups):
        names = [each for each in _names(folder) if each.startswith(prefix)]
        for name in names:
            inner, outer = f"{folder}/{name}/{_INNER}", f"{folder}/{name}"
            if _gone(inner) and _gone(outer):
                removed.add(name)
    return sorted(removed)


def _folders(cgroups: Cgroups) -> list[str]:
    """Where runtimes make groups; runc does so in version 2 beside version 1, too."""
    beside = [cgroups.hybrid] if cgroups.hybrid else []
    return [*(folder for _, folder in cgroups.mounts), *beside]


def _groups(cgroups: Cgroups, names: Iterable[str]) -> list[str]:
    """The inner ones first."""
    return [
        f"{folder}/{name}{inner}"
        for name in names
        for folder in _folders(cgroups)
        for inner in (f"/{_INNER}", "")
    ]


def _names(folder: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, PermissionError):
        return []


def _gone(group: str) -> bool:
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:  # in use, or not ours
        return False
    return True
