"""Owners, modes, times and extended attributes of what was unpacked."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from obuild.layers.errors import ArchiveError, show
from obuild.layers.extraction import Extraction
from obuild.layers.members import Kind, Member

__all__ = ["Metadata"]

_HIGHEST = 2**32 - 2  # the last value of 32 bits means "no change"
_TOLD = 100
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_UNABLE = frozenset((errno.EPERM, errno.EACCES, errno.ENOTSUP))
_ROOTS_SECTION = (b"trusted.", b"security.")
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Metadata:
    """Sets what the archive says. ``skipped`` tells what could not be, where that is no
    error."""

    def __init__(self, how: Extraction):
        self._how = how
        self._skipped: list[str] = []
        self._more = 0

    @property
    def skipped(self) -> tuple[str, ...]:
        """Sentences, 100 at most and one about the rest."""
        more = (f"{self._more} more left out",) if self._more else ()
        return (*self._skipped, *more)

    def skip(self, what: str) -> None:
        if len(self._skipped) < _TOLD:
            self._skipped.append(what)
        else:
            self._more += 1

    def on_open(self, fd: int, member: Member) -> None:
        """On an open file or directory, after its content: attributes are lost by writing, and
        set-uid bits by a change of the owner."""
        if self._how.owners:
            self._own(fd, member)
        if member.xattrs:
            self._attribute(fd, member.name, member.xattrs)
        os.fchmod(fd, self._mode(member))
        os.utime(fd, ns=(member.mtime, member.mtime))

    def on_name(self, name: bytes, folder: int, member: Member) -> None:
        """On anything else."""
        if member.kind == Kind.SYMLINK and not member.xattrs:
            if self._how.owners:
                self._own(name, member, folder)
            times = (member.mtime, member.mtime)
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
            return
        handle = os.open(name, _HANDLE, dir_fd=folder)
        try:
            if self._how.owners:
                self._own(name, member, folder)
            way = f"/proc/self/fd/{handle}"
            self._attribute(way, member.name, member.xattrs)
            if member.kind != Kind.SYMLINK:
                os.chmod(way, self._mode(member))
            times = (member.mtime, member.mtime)
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(handle)

    def mark_opaque(self, fd: int) -> None:
        """Overlayfs shows nothing of the layers below in such a directory."""
        which = b"user" if self._how.user_xattrs else b"trusted"
        os.setxattr(fd, which + b".overlay.opaque", b"y")

    def _mode(self, member: Member) -> int:
        return member.mode if self._how.owners else member.mode & 0o1777

    def _own(self, where: int | bytes, member: Member, folder: int | None = None) -> None:
        if member.uid > _HIGHEST or member.gid > _HIGHEST:
            raise ArchiveError(
                f"{show(member.name)} belongs to {member.uid}:{member.gid};"
                f" ids go from 0 to {_HIGHEST}"
            )
        try:
            if isinstance(where, int):
                os.fchown(where, member.uid, member.gid)
            else:
                os.chown(where, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise _unmapped(member) from error

    def _attribute(self, where: int | str, name: bytes, xattrs: Mapping[bytes, bytes]) -> None:
        for key, value in xattrs.items():
            if key.startswith(_OVERLAY):
                # They tell overlayfs where to look for files: nothing that comes from
                # elsewhere may say that.
                self.skip(f"{show(name)}: the attribute {show(key)}, which is overlayfs's own")
                continue
            if not self._how.owners and key.startswith(_ROOTS_SECTION):
                self.skip(f"{show(name)}: the attribute {show(key)}, which is root's to give")
                continue
            try:
                os.setxattr(where, key, value)
            except OSError as error:
                if self._how.strict or error.errno not in _UNABLE:
                    raise ArchiveError(
                        f"{show(name)} cannot get its attribute {show(key)}: {error.strerror}",
                        hint="a file system with extended attributes, and root, can hold it",
                    ) from error
                self.skip(f"{show(name)}: the attribute {show(key)}: {error.strerror}")


def _unmapped(member: Member) -> ArchiveError:
    """An owner whom the user namespace has no number for."""
    for kind, number in (("uid", member.uid), ("gid", member.gid)):
        ranges = _ranges(kind)
        if not any(first <= number < first + length for first, length in ranges):
            what = {"uid": "user", "gid": "group"}[kind]
            have = sum(length for _, length in ranges)
            return ArchiveError(
                f"{show(member.name)} belongs to {what} {number}, but there are"
                f" only {have} {what} ids here",
                hint=f"give the user more subordinate ids, in /etc/sub{kind}:"
                f" usermod --add-sub{kind}s FIRST-LAST NAME",
            )
    return ArchiveError(f"{show(member.name)} cannot belong to {member.uid}:{member.gid} here")


def _ranges(kind: str) -> list[tuple[int, int]]:
    with open(f"/proc/self/{kind}_map", "rb") as file:
        rows = [line.split() for line in file]
    return [(int(first), int(length)) for first, _, length in rows]
