"""What directories are in the layers below."""

from __future__ import annotations

import errno
import os

from obuild.layers.folders import Parts
from obuild.layers.members import Kind, Member

__all__ = ["implied", "looked_up"]

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = (b"trusted.overlay.opaque", b"user.overlay.opaque")
_OWN = (b"trusted.overlay.", b"user.overlay.")


def implied(parts: Parts) -> Member:
    """A directory that nothing is known of."""
    name = b"/".join(parts)
    return Member(name, Kind.DIRECTORY, 0o755, 0, 0, 0, 0, b"", (0, 0), {}, None)


def looked_up(lower: tuple[int, ...], parts: Parts) -> Member:
    """The directory ``parts`` as the topmost of the layers ``lower`` has it; if none has it,
    or something hides it, one that nothing is known of. Raises ``OSError``."""
    for root in lower:
        found, hidden = _in(root, parts)
        if found is not None:
            return found
        if hidden:
            break
    return implied(parts)


def _in(root: int, parts: Parts) -> tuple[Member | None, bool]:
    """The directory in one layer, and whether this layer hides those below it."""
    fd = os.open(b".", _OPEN, dir_fd=root)
    try:
        hidden = False
        for part in parts:
            try:
                below = os.open(part, _OPEN, dir_fd=fd)
            except FileNotFoundError:
                return None, hidden
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                # A file, a link or a mark stands there: whatever lies below is not seen.
                return None, True
            os.close(fd)
            fd = below
            hidden = hidden or any(name in _OPAQUE for name in _xattrs(fd))
        status = os.fstat(fd)
        kept = {name: os.getxattr(fd, name) for name in _xattrs(fd) if not name.startswith(_OWN)}
        return (
            Member(
                b"/".join(parts),
                Kind.DIRECTORY,
                status.st_mode & 0o7777,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                0,
                b"",
                (0, 0),
                kept,
                None,
            ),
            hidden,
        )
    finally:
        os.close(fd)


def _xattrs(fd: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listxattr(fd)]
