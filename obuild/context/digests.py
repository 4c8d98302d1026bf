"""Digests of files: hashing them, and the border to a cache of digests by file status."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from obuild.values import Value

__all__ = ["DigestCache", "NoDigestCache", "Reading", "StatKey", "read_file", "status_key"]

_CHUNK = 1 << 20


class StatKey(Value):
    """What identifies a state of a file: numbers of its device and inode, its size in bytes,
    the times of its last change of content and of status in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def status_key(status: os.stat_result) -> StatKey:
    return StatKey(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


class DigestCache(Protocol):
    """Digests of files that were read before.

    ``add`` is only called where the file cannot have changed unseen: it was not younger than
    two seconds when it was read, and its status was the same before and after. Both are
    called in the thread that makes the manifest.
    """

    def lookup(self, stat: StatKey) -> str | None:
        """The sha256 of the file in that state, 64 hex digits, None if it is not known."""
        ...

    def add(self, stat: StatKey, digest: str) -> None: ...


class NoDigestCache:
    """Knows no digest and keeps none."""

    def lookup(self, stat: StatKey) -> str | None:  # noqa: ARG002
        return None

    def add(self, stat: StatKey, digest: str) -> None:
        pass


class Reading(Value):
    """A file that was read to its end: ``size`` bytes, and its status after that."""

    digest: str
    size: int
    status: os.stat_result


def read_file(fd: int, size: int, stopped: Callable[[], bool] | None = None) -> Reading:
    """Hash the open file, of ``size`` bytes or so, to its end, and close it.

    Reads at most 1 MiB at a time, and gives up early, with a wrong digest, once
    ``stopped()``. Raises ``OSError``.
    """
    from hashlib import sha256

    digest = sha256()
    done = 0
    try:
        # One byte more than is expected, so that a small file takes a small buffer.
        while chunk := os.read(fd, min(max(size - done, 0) + 1, _CHUNK)):
            digest.update(chunk)
            done += len(chunk)
            if stopped is not None and stopped():
                break
        return Reading(digest.hexdigest(), done, os.fstat(fd))
    finally:
        os.close(fd)
