"""Namespaces and mounts: the system calls that Python 3.11 has no functions for.

The numbers are those of the kernel's headers (``linux/sched.h``, ``linux/mount.h``), the same
on every architecture that obuild runs on.
"""

from __future__ import annotations

import ctypes
import os

__all__ = [
    "BIND",
    "NEW_MOUNTS",
    "NEW_PIDS",
    "NEW_USERS",
    "NO_DEVICES",
    "NO_EXEC",
    "NO_SUID",
    "PRIVATE",
    "READ_ONLY",
    "RECURSIVE",
    "REMOUNT",
    "mount",
    "unshare",
]

NEW_MOUNTS = 0x00020000
NEW_USERS = 0x10000000
NEW_PIDS = 0x20000000

READ_ONLY = 0x1
NO_SUID = 0x2
NO_DEVICES = 0x4
NO_EXEC = 0x8
REMOUNT = 0x20
BIND = 0x1000
RECURSIVE = 0x4000
PRIVATE = 0x40000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.unshare.argtypes = (ctypes.c_int,)


def unshare(flags: int) -> None:
    """Give this process new namespaces. Raises ``OSError``."""
    _checked(_libc.unshare(flags), "unshare")


def mount(
    source: bytes, target: bytes, kind: bytes | None = None, flags: int = 0, options: bytes = b""
) -> None:
    """See mount(2). Raises ``OSError`` with the target as its file name."""
    _checked(_libc.mount(source, target, kind, flags, options or None), target)


def _checked(result: int, name: str | bytes) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
