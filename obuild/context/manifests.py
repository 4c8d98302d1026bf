"""Making the manifest of a source: look first, then read what no cache knows."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from obuild.context import refusals
from obuild.context.digests import DigestCache, Reading, StatKey, read_file, status_key
from obuild.context.folders import Folders, open_file
from obuild.errors import SourceError
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink, walk
from obuild.source import decode, encode
from obuild.values import replace

if TYPE_CHECKING:  # only the reading of large files pays for the import
    from concurrent.futures import Future

__all__ = ["add_attributes", "make_manifest"]

_LARGE = 1 << 20  # bytes from which hashing in a thread of its own is worth the thread
_MAX_THREADS = 8
_SECOND = 1_000_000_000
# A change within the resolution of the file system's clock leaves the times as they were.
_SETTLED_NS = 2 * _SECOND


class _Unread:
    """A file whose digest is not known yet, and the state it was seen in."""

    __slots__ = ("made", "path", "seen")

    def __init__(self, path: str, seen: StatKey):
        self.path = path
        self.seen = seen
        self.made: File | None = None


class _Folder:
    """A folder whose manifest is made when those of its items are.

    ``names`` are those not looked at yet, the next one last.
    """

    __slots__ = ("items", "made", "mtime", "names", "path")

    def __init__(self, path: str, mtime: int, names: list[bytes]):
        self.path = path
        self.mtime = mtime
        self.names = names
        self.items: list[_Item] = []
        self.made: Dir | None = None


_Item = File | Symlink | _Unread | _Folder


def make_manifest(
    folders: Folders,
    path: str,
    status: os.stat_result,
    left_out: frozenset[bytes],
    digests: DigestCache,
    now_ns: Callable[[], int],
) -> Manifest:
    """The manifest of what stands at ``path`` and has ``status``.

    Names in ``left_out`` are not looked at, in no folder; ``path`` itself is not among them.
    Raises ``SourceError``. Takes memory for names and digests only, whatever the sizes.
    """
    survey = _Survey(folders, left_out, digests)
    parent, _, name = path.rpartition("/")
    try:
        top = survey.look(folders.folder(parent), encode(name), path, status)
    except OSError as error:
        raise _trouble(path, error) from error
    survey.descend()
    _Reader(folders, digests, now_ns).read(survey.unread)
    for folder in reversed(survey.folders_seen):  # children stand after their parents
        items = tuple(_made(item) for item in folder.items)
        folder.made = Dir(folder.path, items, folder.mtime)
    return _made(top)


def _made(item: _Item) -> Manifest:
    if isinstance(item, (File, Symlink)):
        return item
    assert item.made is not None
    return item.made


def add_attributes(folders: Folders, manifest: Manifest) -> Manifest:
    """The same manifest with the mode and owner of everything in it, as they are now.

    A walk of its own: most copies do not ask, and pay nothing. Raises ``SourceError``.
    """
    found: list[Manifest] = []
    for node in walk(manifest):
        parent, _, name = node.path.rpartition("/")
        try:
            folder = folders.folder(parent)
            status = os.stat(encode(name) or b".", dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            raise _trouble(node.path, error) from error
        mode = stat.S_IMODE(status.st_mode)
        found.append(replace(node, attributes=Attributes(mode, status.st_uid, status.st_gid)))
    # From the last to the first: what is in a folder stands after it, and is done before it.
    done: list[Manifest] = []
    for node in reversed(found):
        if isinstance(node, Dir):
            items = tuple(done.pop() for _ in node.items)
            node = replace(node, items=items)
        done.append(node)
    return done.pop()


def _trouble(path: str, error: OSError) -> SourceError:
    """What it means that something which was just there cannot be looked at."""
    if isinstance(error, FileNotFoundError):
        return refusals.vanished(path)
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EINVAL):  # EINVAL: readlink
        return refusals.changed(path, "read")
    return refusals.unreadable(path, error)


class _Survey:
    """Looks at a tree in the order of the manifest, folder by folder, without reading files.

    It keeps its own stack: a path may have more components than Python has frames.
    """

    def __init__(self, folders: Folders, left_out: frozenset[bytes], digests: DigestCache):
        self._folders = folders
        self._left_out = left_out
        self._digests = digests
        self._open: list[_Folder] = []
        self.folders_seen: list[_Folder] = []
        self.unread: list[_Unread] = []

    def look(self, folder: int, name: bytes, path: str, status: os.stat_result) -> _Item:
        """The entry ``name`` of an open folder, as far as it is known without reading it."""
        mtime = status.st_mtime_ns // _SECOND
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            key = status_key(status)
            digest = self._digests.lookup(key)
            if digest is not None:
                return _file(path, digest, status.st_size, status)
            unread = _Unread(path, key)
            self.unread.append(unread)
            return unread
        if kind == stat.S_IFLNK:
            return Symlink(path, decode(os.readlink(name, dir_fd=folder)), mtime)
        if kind != stat.S_IFDIR:
            raise refusals.unsupported(path)
        names = [n for n in self._folders.names(path) if n not in self._left_out]
        opened = _Folder(path, mtime, sorted(names, reverse=True))
        self.folders_seen.append(opened)
        self._open.append(opened)
        return opened

    def descend(self) -> None:
        """Look at everything in the folders met so far and in those inside of them."""
        while self._open:
            if self._open[-1].names:
                self._fill(self._open[-1])
            else:
                self._open.pop()

    def _fill(self, folder: _Folder) -> None:
        """Look at the items of ``folder``, up to the next folder among them."""
        prefix = f"{folder.path}/" if folder.path else ""
        path = folder.path
        try:
            fd = self._folders.folder(folder.path)
            while folder.names and self._open[-1] is folder:
                name = folder.names.pop()
                path = prefix + decode(name)
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                folder.items.append(self.look(fd, name, path, status))
        except OSError as error:
            raise _trouble(path, error) from error


def _file(path: str, digest: str, size: int, status: os.stat_result) -> File:
    executable = bool(status.st_mode & 0o111)
    return File(path, digest, executable, size, status.st_mtime_ns // _SECOND)


class _Reader:
    """Reads files for their digests and tells the cache."""

    def __init__(self, folders: Folders, digests: DigestCache, now_ns: Callable[[], int]):
        self._folders = folders
        self._digests = digests
        self._now_ns = now_ns

    def read(self, files: list[_Unread]) -> None:
        """Set ``made`` of each. Raises ``SourceError`` for one that cannot be read."""
        large = [file for file in files if file.seen.size >= _LARGE]
        for file in files:
            if file.seen.size < _LARGE:
                started = self._now_ns()
                try:
                    reading = read_file(self._open(file), file.seen.size)
                except OSError as error:
                    raise _trouble(file.path, error) from error
                self._settle(file, started, reading)
        if large:
            self._read_large(large)

    def _read_large(self, files: list[_Unread]) -> None:
        """Hash in threads, which run at the same time because hashing holds no lock.

        Only a few files are open at once: the next is opened when the oldest is done.
        """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Event

        threads = min(len(files), os.cpu_count() or 1, _MAX_THREADS)
        stopped = Event()
        pending: deque[tuple[_Unread, int, Future[Reading]]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="hash") as pool:
            try:
                for file in files:
                    if len(pending) > threads:
                        self._await(*pending.popleft())
                    started = self._now_ns()
                    fd = self._open(file)
                    reading = pool.submit(read_file, fd, file.seen.size, stopped.is_set)
                    pending.append((file, started, reading))
                while pending:
                    self._await(*pending.popleft())
            finally:
                stopped.set()

    def _await(self, file: _Unread, started: int, reading: Future[Reading]) -> None:
        try:
            self._settle(file, started, reading.result())
        except OSError as error:
            raise _trouble(file.path, error) from error

    def _open(self, file: _Unread) -> int:
        parent, _, name = file.path.rpartition("/")
        try:
            fd = open_file(encode(name), self._folders.folder(parent))
        except OSError as error:
            raise _trouble(file.path, error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise refusals.changed(file.path, "read")
        return fd

    def _settle(self, file: _Unread, started: int, reading: Reading) -> None:
        """Note the digest, for later runs too if the file cannot have changed unseen."""
        file.made = _file(file.path, reading.digest, reading.size, reading.status)
        seen = file.seen
        if (
            reading.size == seen.size
            and seen == status_key(reading.status)
            and max(seen.mtime_ns, seen.ctime_ns) <= started - _SETTLED_NS
        ):
            self._digests.add(seen, reading.digest)
