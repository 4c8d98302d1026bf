"""Removing trees, whatever is in them."""

from __future__ import annotations

import errno
import os
from itertools import count

__all__ = ["remove", "remove_content"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEP = 128
"""Directories held open at once. What lies deeper is moved up and removed from there: a guest
can make a tree deeper than there are descriptors, or than a path may be long."""


def remove(name: bytes, folder: int) -> None:
    """Remove the entry ``name`` of an open directory, and if it is one all that is in it.

    No link is followed and no permission of a directory in it stands in the way of its owner.
    Nothing happens if there is no such entry. Raises ``OSError``, with the rest left.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # EPERM stands for a directory on some file systems; if it is none, opening says so.
        fd = _opened(name, folder)
        try:
            remove_content(fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=folder)


def remove_content(folder: int) -> None:
    """Remove everything in an open directory, which stays. Raises ``OSError``."""
    numbers = count()
    stack = [(folder, b"", _without_files(folder))]
    try:
        while stack:
            fd, name, folders = stack[-1]
            if folders:
                below = folders.pop()
                if len(stack) > _DEEP:
                    stack[0][2].append(_moved(below, fd, folder, numbers))
                    continue
                child = _opened(below, fd)
                stack.append((child, below, []))
                stack[-1] = (child, below, _without_files(child))
                continue
            stack.pop()
            if stack:
                os.close(fd)
                os.rmdir(name, dir_fd=stack[-1][0])
    finally:
        for fd, _, _ in stack[1:]:
            os.close(fd)


def _without_files(folder: int) -> list[bytes]:
    """The directories that are left after everything else in ``folder`` was removed."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(os.fsencode(entry.name))
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _opened(name: bytes, folder: int) -> int:
    """The directory, open; its owner may do everything with it."""
    try:
        fd = os.open(name, _OPEN, dir_fd=folder)
        if os.geteuid() == 0 or os.fstat(fd).st_mode & 0o700 == 0o700:
            return fd
        os.fchmod(fd, 0o700)
        return fd
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return os.open(name, _OPEN, dir_fd=folder)


def _moved(name: bytes, folder: int, top: int, numbers: count[int]) -> bytes:
    """Move a directory to ``top``; its name there."""
    os.close(_opened(name, folder))  # to write the entry ``..`` its owner must be let in
    for number in numbers:
        new = b".removed-%d" % number
        try:
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=top)
        except (FileExistsError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            continue
        return new
    raise AssertionError("count() ends nowhere")
