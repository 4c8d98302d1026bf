"""Trees as tar archives: of an upper directory of overlayfs a layer, of a tree a plain archive.

The same tree gives the same bytes, wherever and whenever: members stand in the order of their
names' bytes, a directory before what is in it; times are whole seconds, as Docker, BuildKit and
containerd write them, unless nanoseconds are asked for; access times, names of users and holes
are left out. Sockets are left out, too: no archive can hold them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from obuild.layers.errors import ArchiveError, show
from obuild.layers.folders import is_whiteout
from obuild.layers.headers import header, padding
from obuild.layers.members import Kind, Member
from obuild.layers.whiteouts import MARK, OPAQUE
from obuild.values import Value

__all__ = ["Digested", "Form", "Packing", "gzipped", "pack"]

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME
_OPEN_OF_OTHERS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER = os.O_DIRECTORY
_CHUNK = 1 << 19
_BILLION = 1_000_000_000
_END = bytes(1024)
_LEVEL = 6
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_TURNED = frozenset((b"redirect", b"metacopy", b"whiteout", b"whiteouts"))
_OF_THE_HOST = frozenset((b"security.selinux", b"security.ima", b"security.evm"))
_DEPTH = 1024


class Form(Enum):
    """LAYER: of an upper directory of overlayfs, its marks become whiteouts (OCI image spec,
    "Image Layer Filesystem Changeset"). PLAIN: a tree as it is."""

    LAYER = "layer"
    PLAIN = "plain"


class Packing(Value):
    """- ``user_xattrs``: marks of overlayfs are ``user.overlay.``, else ``trusted.overlay.``.
    - ``epoch``: seconds since 1970; no time in the archive is later.
    - ``nanoseconds``: times as exact as the file system has them.
    - ``root``: the archive begins with a member ``./`` for the root itself. (Layers of other
      tools have none.)
    - ``closed``: closing blocks come last.
    - ``limit``: bytes of all files together, holes counted.
    """

    form: Form = Form.LAYER
    user_xattrs: bool = False
    epoch: int | None = None
    nanoseconds: bool = False
    root: bool = False
    closed: bool = True
    limit: int = 1 << 40


def pack(root: int, how: Packing) -> Iterator[bytes]:
    """The tree in the open directory ``root``, which nobody may change meanwhile, in pieces
    of at most 1 MiB. Raises ``ArchiveError`` for what cannot be in an archive, or read."""
    return _gathered(_Packer(how).pack(root))


class Digested:
    """Passes pieces on; ``digest`` (``sha256:HEX``) and ``size`` are of those that passed."""

    def __init__(self, pieces: Iterable[bytes]):
        self._pieces = pieces
        self._hashed = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hashed.hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._hashed.update(piece)
            self.size += len(piece)
            yield piece


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same compressed with gzip, without a name and a time: the same bytes each time, as
    long as zlib is the same."""
    import zlib

    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


class _Packer:
    def __init__(self, how: Packing):
        self._how = how
        self._layer = how.form is Form.LAYER
        self._own = b"user.overlay." if how.user_xattrs else b"trusted.overlay."
        self._links: dict[tuple[int, int], bytes] = {}
        self._size = 0

    def pack(self, root: int) -> Iterator[bytes]:
        name = b"."
        try:
            if self._how.root:
                yield header(
                    self._member(b"./", Kind.DIRECTORY, os.fstat(root), self._xattrs(root))
                )
            stack: list[tuple[int, bytes, Iterator[bytes]]] = []
            fd = os.open(b".", _OPEN_OF_OTHERS | _ENTER, dir_fd=root)
            try:
                stack.append((fd, b"", self._names(fd)))
                yield from self._opaque(fd, b"")
                while stack:
                    fd, prefix, names = stack[-1]
                    for base in names:
                        name = prefix + base
                        status = os.stat(base, dir_fd=fd, follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            if len(stack) >= _DEPTH // 2:
                                raise _too_deep(name)
                            below = _opened(base, fd, _ENTER)
                            stack.append((below, name + b"/", self._names(below)))
                            yield from self._folder(name, below)
                            break
                        yield from self._entry(name, base, fd, status)
                    else:
                        stack.pop()
                        os.close(fd)
            finally:
                for fd, _, _ in stack:
                    os.close(fd)
        except OSError as error:
            raise ArchiveError(f"{show(name)} cannot be read: {error.strerror or error}") from error
        if self._how.closed:
            yield _END

    def _names(self, folder: int) -> Iterator[bytes]:
        return iter(sorted(map(os.fsencode, os.listdir(folder))))

    def _folder(self, name: bytes, fd: int) -> Iterator[bytes]:
        self._check_name(name)
        status = os.fstat(fd)
        yield header(self._member(name + b"/", Kind.DIRECTORY, status, self._xattrs(fd)))
        yield from self._opaque(fd, name + b"/")

    def _opaque(self, fd: int, prefix: bytes) -> Iterator[bytes]:
        """The mark of a directory in which nothing of the layers below is seen."""
        key = self._own + b"opaque"
        if self._layer and key in _listed(fd):
            value = os.getxattr(fd, key)
            if value != b"y":
                raise _turned(prefix, key)
            yield header(_mark(prefix + OPAQUE))

    def _entry(
        self, name: bytes, base: bytes, folder: int, status: os.stat_result
    ) -> Iterator[bytes]:
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return
        if self._layer and is_whiteout(status):
            parent, slash, _ = name.rpartition(b"/")
            yield header(_mark(parent + slash + MARK + base))
            return
        self._check_name(name)
        if status.st_nlink > 1:
            identity = status.st_dev, status.st_ino
            first = self._links.setdefault(identity, name)
            if first != name:
                yield header(self._member(name, Kind.LINK, status, {}, target=first))
                return
        if stat.S_ISREG(mode):
            yield from self._file(name, base, folder)
            return
        xattrs = self._xattrs(f"/proc/self/fd/{folder}/{os.fsdecode(base)}")
        target = os.readlink(base, dir_fd=folder) if stat.S_ISLNK(mode) else b""
        yield header(self._member(name, _kind(mode), status, xattrs, target=target))

    def _file(self, name: bytes, base: bytes, folder: int) -> Iterator[bytes]:
        fd = _opened(base, folder)
        try:
            status = os.fstat(fd)
            size = left = status.st_size
            self._size += size
            if self._size > self._how.limit:
                raise ArchiveError(
                    f"the files have more than {self._how.limit} bytes, at {show(name)}",
                    hint="holes of sparse files count, since a layer has none",
                )
            yield header(self._member(name, Kind.FILE, status, self._xattrs(fd), size=size))
            while left and (piece := os.read(fd, min(left, _CHUNK))):
                left -= len(piece)
                yield piece
        finally:
            os.close(fd)
        if left:
            raise ArchiveError(f"{show(name)} became shorter while it was read")
        yield padding(size)

    def _member(
        self,
        name: bytes,
        kind: bytes,
        status: os.stat_result,
        xattrs: Mapping[bytes, bytes],
        *,
        size: int = 0,
        target: bytes = b"",
    ) -> Member:
        mtime = status.st_mtime_ns
        if self._how.epoch is not None:
            mtime = min(mtime, self._how.epoch * _BILLION)
        if not self._how.nanoseconds:
            mtime -= mtime % _BILLION
        device = (0, 0)
        if kind in (Kind.CHARACTER, Kind.BLOCK):
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
        mode = stat.S_IMODE(status.st_mode)
        return Member(
            name,
            kind,
            mode,
            status.st_uid,
            status.st_gid,
            mtime,
            size,
            target,
            device,
            xattrs,
            None,
        )

    def _xattrs(self, where: int | str) -> dict[bytes, bytes]:
        """Those of an open file, or of what a path leads to (the last name not followed)."""
        found = {}
        for key in _listed(where):
            if key.startswith(_OVERLAY):
                if (
                    key.startswith(self._own)
                    and key.removeprefix(self._own).split(b".")[0] in _TURNED
                ):
                    raise _turned(b"" if isinstance(where, int) else os.fsencode(where), key)
            elif b"=" in key:
                raise ArchiveError(
                    f"the attribute {show(key)} cannot be in an archive",
                    hint="its name has an equals sign; remove it with setfattr -x",
                )
            elif key not in _OF_THE_HOST:
                follow = isinstance(where, int)
                found[key] = os.getxattr(where, key, follow_symlinks=follow)
        return found

    def _check_name(self, name: bytes) -> None:
        base = name.rpartition(b"/")[2]
        if self._layer and base.startswith(MARK):
            raise ArchiveError(
                f"no image can hold a file called {show(name)}: such a name marks a file as gone",
                hint="give it another name, or remove it, in the step that makes it",
            )


def _opened(name: bytes, folder: int, flags: int = 0) -> int:
    """For reading, without a new access time where that is allowed."""
    try:
        return os.open(name, _OPEN | flags, dir_fd=folder)
    except PermissionError:
        return os.open(name, _OPEN_OF_OTHERS | flags, dir_fd=folder)


def _listed(where: int | str) -> list[bytes]:
    names = os.listxattr(where, follow_symlinks=isinstance(where, int))
    return sorted(map(os.fsencode, names)) if names else []


def _mark(name: bytes) -> Member:
    return Member(name, Kind.FILE, 0, 0, 0, 0, 0, b"", (0, 0), {}, None)


def _kind(mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return Kind.SYMLINK
    if stat.S_ISFIFO(mode):
        return Kind.FIFO
    return Kind.CHARACTER if stat.S_ISCHR(mode) else Kind.BLOCK


def _turned(name: bytes, key: bytes) -> ArchiveError:
    return ArchiveError(
        f"{show(name) or 'a directory'} has overlayfs's attribute {show(key)}: its content is"
        " elsewhere",
        hint="such trees come of mounts with redirect_dir or metacopy, which obuild's have not",
    )


def _too_deep(name: bytes) -> ArchiveError:
    return ArchiveError(
        f"the tree has more than {_DEPTH // 2} directories one below the other: {show(name)}"
    )
