"""Mounting layers one over the other.

A layer is a folder ``ID/fs`` in the folder of all layers. The kernel takes a page of options
for a mount, so the names are relative, and short; ``obuild.engine.native.layers`` sees to it
that there are not too many.

A mount is made in a mount namespace of the task's own, and goes with it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from obuild.engine.native import syscalls
from obuild.errors import EngineError

__all__ = ["in_user_namespace", "mount_stack", "own_mounts"]

_EMPTY = "empty"


def own_mounts() -> None:
    """Give this process a mount namespace of its own."""
    syscalls.unshare(syscalls.NEW_MOUNTS)


def mount_stack(layers: str, stack: Sequence[str], work: str | None, target: str) -> None:
    """Mount the layers in ``stack``, the lowest first, at ``target``.

    ``layers`` is the folder of all layers. What is written goes to ``work/layer/fs``; without
    ``work`` nothing can be written. The current folder becomes ``layers``.

    Raises ``EngineError`` where the file system of the store cannot bear it.
    """
    os.chdir(layers)
    lower = [f"{name}/fs" for name in reversed(stack)] or [_EMPTY]
    if work is None:
        if len(lower) == 1:
            flags = syscalls.BIND
            syscalls.mount(os.fsencode(lower[0]), os.fsencode(target), None, flags)
            read_only = flags | syscalls.REMOUNT | syscalls.READ_ONLY
            syscalls.mount(b"none", os.fsencode(target), None, read_only)
            return
        options = [f"lowerdir={':'.join(lower)}"]
    else:
        options = [
            f"lowerdir={':'.join(lower)}",
            f"upperdir={work}/layer/fs",
            f"workdir={work}/overlay",
        ]
        if stack:
            _like(f"{stack[-1]}/fs", f"{work}/layer/fs")
    if in_user_namespace():
        options.append("userxattr")
    else:
        options += ["index=off", "metacopy=off", "redirect_dir=off"]
    # Nothing of a step is kept if the machine goes down in it, so nothing need be flushed.
    volatile = [*options, "volatile"] if work is not None else options
    flags = syscalls.READ_ONLY if work is None else 0
    try:
        syscalls.mount(b"overlay", os.fsencode(target), b"overlay", flags, _text(volatile))
    except OSError as error:
        if error.errno != errno.EINVAL or volatile is options:
            raise _refused(layers, error) from error
        try:  # a kernel before 5.10
            syscalls.mount(b"overlay", os.fsencode(target), b"overlay", flags, _text(options))
        except OSError as second:
            raise _refused(layers, second) from second


def _like(below: str, new: str) -> None:
    """The root of what is mounted is as its topmost layer has it: so that must say what the
    one below said."""
    found = os.stat(below)
    os.chown(new, found.st_uid, found.st_gid)
    os.chmod(new, found.st_mode & 0o7777)
    for name in os.listxattr(below):
        if ".overlay." not in name:
            os.setxattr(new, name, os.getxattr(below, name))
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))


def _text(options: Sequence[str]) -> bytes:
    return os.fsencode(",".join(options))


def in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as maps:
        return maps.read().split() != ["0", "0", "4294967295"]


def _refused(layers: str, error: OSError) -> EngineError:
    """What it means that the kernel does not mount it."""
    kind = _file_system(layers)
    where = f"{layers}, which is on {kind}" if kind else layers
    return EngineError(
        f"the kernel refuses an overlay mount of {where}: {error.strerror}",
        hint="name a store on ext4, xfs or btrfs (--store overlayfs:PATH); overlay on overlay,"
        " as in most containers, and network file systems cannot bear it",
    )


def _file_system(path: str) -> str:
    """The kind of the file system that a path is on, as /proc names it."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0]
    return ""
