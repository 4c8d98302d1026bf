"""The one safe extractor: archives into trees, of layers, of imports, of copies.

Nothing outside the root is touched, whatever the archive says: the rules for names are in
``folders``. What a member replaces is removed first and never written through, and its new
file is made with ``O_EXCL``. Directories are open to the caller alone until all is there; then
they get what the archive says of them, times too.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import IO

from obuild.layers.compression import decompressed, pieces_of
from obuild.layers.errors import ArchiveError, show
from obuild.layers.extraction import Extracted, Extraction, Whiteouts
from obuild.layers.folders import Folders, Node, is_whiteout, split
from obuild.layers.lower import implied, looked_up
from obuild.layers.members import Kind, Member, Members
from obuild.layers.metadata import Metadata
from obuild.layers.remove import remove
from obuild.layers.tape import Tape
from obuild.layers.whiteouts import MARK, Marks, refuse_name

__all__ = ["extract"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def extract(stream: IO[bytes] | Iterator[bytes], root: int, how: Extraction) -> Extracted:
    """Unpack an archive, compressed or not, into the open directory ``root``.

    Of several members of one name the last stays. Nobody else may change the tree meanwhile.
    The stream is read to its end; what it raises passes through. Raises ``ArchiveError`` for
    an archive that is damaged, hostile or cannot be unpacked here; the tree is of no use then.
    """
    tape = Tape(pieces_of(stream) if how.plain else decompressed(stream))
    members = Members(tape, how.limits, closed=how.closed)
    marks = how.whiteouts in (Whiteouts.OVERLAY, Whiteouts.APPLY)
    overlay = how.whiteouts is Whiteouts.OVERLAY
    with Folders(root, how.links, how.limits.depth, whiteouts=overlay) as folders:
        return _Unpacking(tape, members, folders, how, marks=marks).run()


class _Unpacking:
    """One archive on its way."""

    def __init__(
        self, tape: Tape, members: Members, folders: Folders, how: Extraction, *, marks: bool
    ):
        self._tape = tape
        self._members = members
        self._folders = folders
        self._how = how
        self._metadata = Metadata(how)
        self._marks = Marks(folders, how.whiteouts) if marks else None
        self._remember = how.whiteouts is Whiteouts.APPLY
        self._entered: bytes | None = None
        """The name, as members write it, of the directory in use."""

    def run(self) -> Extracted:
        count = content = 0
        member: Member | None = None
        try:
            for member in self._members:
                count += 1
                if member.kind == Kind.FILE:
                    content += member.size
                self._unpack(member)
            member = None
            self._finish()
        except (OSError, OverflowError) as error:
            if error is self._tape.fault:
                raise
            raise _refused(member, error) from error
        for _ in self._tape.drain():
            pass  # only an archive without closing blocks may leave something, which is hashed
        return Extracted(
            self._tape.digest, self._tape.position, count, content, self._metadata.skipped
        )

    def _unpack(self, member: Member) -> None:
        name = member.name
        if name.endswith(b"/"):
            name = name.rstrip(b"/")
        folder, _, base = name.rpartition(b"/")
        if base in (b"", b".", b"..") or folder != self._entered:
            parts = split(name)
            if not parts:
                self._of_root(member)
                return
            base = parts[-1]
            self._entered = None
            self._folders.enter(parts[:-1])
            if b".." not in folder:
                self._entered = folder
        if base.startswith(MARK):
            if self._how.whiteouts is Whiteouts.REFUSED:
                refuse_name(member.name)
            if self._marks is not None:
                if self._marks.make(base):
                    self._entered = None
                return
        self._put(member, base)

    def _of_root(self, member: Member) -> None:
        if member.kind != Kind.DIRECTORY:
            raise ArchiveError("the archive has something else than a directory for its root")
        self._entered = None
        self._folders.leave_all()
        self._folders.node.member = member

    def _put(self, member: Member, base: bytes) -> None:
        match member.kind:
            case Kind.FILE:
                self._file(member, base)
            case Kind.DIRECTORY:
                self._directory(member, base)
                return
            case Kind.SYMLINK:
                self._symlink(member, base)
            case Kind.LINK:
                self._link(member, base)
            case _:
                self._special(member, base)
        if self._remember:
            self._folders.node.children[base] = None

    def _file(self, member: Member, base: bytes) -> None:
        folder = self._folders.fd
        try:
            fd = os.open(base, _NEW, 0o600, dir_fd=folder)
        except FileExistsError:
            fd = os.open(base, _NEW, 0o600, dir_fd=self._make_room(member, base))
        try:
            if member.sparse is not None:
                self._sparse(fd, member)
            elif (data := self._members.small()) is not None:
                _write(fd, memoryview(data))
            else:
                for piece in self._members.content():
                    _write(fd, piece)
            self._metadata.on_open(fd, member)
        finally:
            os.close(fd)

    def _sparse(self, fd: int, member: Member) -> None:
        extents = iter(member.sparse or ())
        left = 0
        for piece in self._members.content():
            while piece:
                if not left:
                    start, left = next(extents)
                    os.lseek(fd, start, os.SEEK_SET)
                part, piece = piece[:left], piece[left:]
                left -= len(part)
                _write(fd, part)
        os.ftruncate(fd, member.size)

    def _directory(self, member: Member, base: bytes) -> None:
        folders = self._folders
        try:
            os.mkdir(base, 0o700, dir_fd=folders.fd)
        except FileExistsError:
            status = os.stat(base, dir_fd=folders.fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                node = folders.node.children.get(base) or Node(made=False)
            else:
                os.mkdir(base, 0o700, dir_fd=self._make_room(member, base))
                node = Node(made=True)
                node.opaque = self._how.whiteouts is Whiteouts.OVERLAY and is_whiteout(status)
        else:
            node = Node(made=True)
        node.member = member
        folders.node.children[base] = node

    def _symlink(self, member: Member, base: bytes) -> None:
        folder = self._folders.fd
        try:
            os.symlink(member.target, base, dir_fd=folder)
        except FileExistsError:
            folder = self._make_room(member, base)
            os.symlink(member.target, base, dir_fd=folder)
        self._metadata.on_name(base, folder, member)

    def _link(self, member: Member, base: bytes) -> None:
        """A hard link: of a file, a link or a device that is in the tree."""
        folders = self._folders
        here = folders.parts
        target = split(member.target)
        if not target:
            raise _bad_target(member, "the root")
        try:
            folders.enter(target[:-1], make=False)
            status = os.stat(target[-1], dir_fd=folders.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise _bad_target(member, "nothing that the archive has") from None
        if stat.S_ISDIR(status.st_mode):
            raise _bad_target(member, "a directory")
        if self._marks is not None and is_whiteout(status):
            raise _bad_target(member, "a mark of overlayfs")
        if (*folders.parts, target[-1]) == (*here, base):
            raise _bad_target(member, "itself")
        source = os.dup(folders.fd)
        try:
            folders.enter(here)
            try:
                _hard_link(target[-1], source, base, folders.fd)
            except FileExistsError:
                _hard_link(target[-1], source, base, self._make_room(member, base))
        finally:
            os.close(source)

    def _special(self, member: Member, base: bytes) -> None:
        """A FIFO or a device node."""
        kind, device = stat.S_IFIFO, 0
        if member.kind != Kind.FIFO:
            kind = stat.S_IFCHR if member.kind == Kind.CHARACTER else stat.S_IFBLK
            device = os.makedev(*member.device)
        if kind == stat.S_IFCHR and device == 0:
            if self._marks is None:
                raise ArchiveError(
                    f"{show(member.name)} is the device 0:0, which means to overlayfs that a"
                    " file is gone",
                    hint="leave it out of the archive",
                )
            if self._marks.make(MARK + base):
                self._entered = None
            return
        try:
            os.stat(base, dir_fd=self._folders.fd, follow_symlinks=False)
        except FileNotFoundError:
            folder = self._folders.fd
        else:
            folder = self._make_room(member, base)
        try:
            os.mknod(base, kind | 0o600, device, dir_fd=folder)
        except PermissionError as error:
            if self._how.strict or kind == stat.S_IFIFO:
                raise ArchiveError(
                    f"{show(member.name)} is a device node, which only root can make",
                    hint="run as root, or leave it out of the archive",
                ) from error
            self._metadata.skip(f"{show(member.name)}: a device node, which only root can make")
            return
        self._metadata.on_name(base, folder, member)

    def _make_room(self, member: Member, base: bytes) -> int:
        """Remove what has the member's name; the directory in use."""
        folders = self._folders
        status = os.stat(base, dir_fd=folders.fd, follow_symlinks=False)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not self._how.replace and is_folder != (member.kind == Kind.DIRECTORY):
            there = "a directory" if is_folder else "no directory"
            raise ArchiveError(
                f"{show(member.name)} cannot be put where {there} is already",
                hint="choose another destination, or remove what is there",
            )
        if not is_folder:
            os.unlink(base, dir_fd=folders.fd)
            return folders.fd
        remove(base, folders.fd)
        folders.node.children.pop(base, None)
        return folders.fd

    def _finish(self) -> None:
        """Give the directories what the archive says, those in others first."""
        folders, how = self._folders, self._how
        for parts, node in folders.below():
            if node.member is None and not node.made and not node.opaque:
                continue
            member = node.member
            if member is None and node.made:
                member = implied(parts) if node.opaque else looked_up(how.lower, parts)
            folders.enter(parts, make=False)
            fd = os.open(b".", _READ, dir_fd=folders.fd)
            try:
                if node.opaque and how.whiteouts is Whiteouts.OVERLAY:
                    self._metadata.mark_opaque(fd)
                if member is not None:
                    self._metadata.on_open(fd, member)
            finally:
                os.close(fd)


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _hard_link(target: bytes, source: int, name: bytes, folder: int) -> None:
    os.link(target, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)


def _bad_target(member: Member, what: str) -> ArchiveError:
    return ArchiveError(
        f"{show(member.name)} is a hard link to {show(member.target)}, which is {what}",
        hint="such an archive is an attack, or broken: do not use it",
    )


def _refused(member: Member | None, error: OSError | OverflowError) -> ArchiveError:
    name = show(member.name) if member is not None else "a directory"
    if isinstance(error, OverflowError):
        return ArchiveError(f"{name} has a time, an owner or a size that no file can have")
    hint = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room on the file system that it is unpacked to"
    return ArchiveError(f"{name} cannot be unpacked: {error.strerror or error}", hint=hint)
