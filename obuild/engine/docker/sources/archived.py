"""The files of a snapshot through the daemon's archive endpoint: no tool of a guest is needed.

For images without bash or tar, and for what a container that runs would show otherwise than
the image has it. A container that is created and never started is read. What Docker puts into
every container (its init layer: empty places for mounts) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from threading import Event
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from obuild.context import refusals
from obuild.engine.docker.connection import request
from obuild.engine.docker.copies.guest import Container
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.sources.serving import untrue
from obuild.engine.streams import Stream
from obuild.errors import Cancelled
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink
from obuild.source import decode, encode

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

__all__ = ["Archived", "is_docker_s"]

_CHUNK = 1 << 17
_BUFFER = 1 << 16
_PLACES: Final = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
_FOLDERS: Final = ("dev", "proc", "sys")
_ALWAYS: Final = (".dockerenv", "dev/console", "dev/pts", "dev/shm")


def is_docker_s(path: str) -> bool:
    """Whether something at or below ``path`` (clean, from the root) is of Docker's making in a
    container that runs."""
    first = path.partition("/")[0]
    return first in (*_FOLDERS, ".dockerenv", "") or path == "etc" or path in _PLACES


class Archived:
    """Reads the container ``container``."""

    def __init__(self, daemon: Daemon, container: str, cancel: Event):
        self._daemon = daemon
        self._container = container
        self._cancel = cancel
        self._guest = Container(daemon, container)
        self._sizes: dict[str, int] = {}

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:
        """See ``obuild.engine.Source``."""
        left_out = frozenset(encode(name) for name in exclude)
        return tuple(self._manifest(source, left_out) for source in sources)

    def sizes(self, files: Sequence[File]) -> list[int]:
        """In bytes, of each of the files."""
        for path in {item.path for item in files} - set(self._sizes):
            with self._open(path) as archive:
                member = archive.next()
                self._sizes[path] = member.size if member else 0
        return [self._sizes[item.path] for item in files]

    def members(
        self, tops: Sequence[Sequence[Manifest]], sizes: Sequence[int]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """For each item of each tree in turn its time in seconds, and its content, which is
        taken before the next item. Raises ``SourceError`` for what is not there as it was."""
        wanted = iter(sizes)
        for items in tops:
            with self._open(items[0].path) as archive:
                entries = self._entries(archive, items[0].path)
                for item in items:
                    member = next((m for path, m in entries if path == item.path), None)
                    size = next(wanted) if isinstance(item, File) else 0
                    yield self._expect(archive, item, member, size)

    def _expect(
        self, archive: TarFile, item: Manifest, member: TarInfo | None, size: int
    ) -> tuple[int, Iterator[bytes]]:
        match item:
            case Dir():
                right = member is not None and member.isdir()
            case Symlink():
                right = member is not None and member.issym() and member.linkname == item.target
            case File():
                right = member is not None and (member.islnk() or member.size == size)
        if member is None or not right:
            raise untrue(f"{refusals.show(item.path)} is not there as it was")
        content: Iterator[bytes] = iter(())
        if member.islnk():
            content = self._linked(item.path)
        elif member.isreg():
            content = self._content(archive, member)
        return int(member.mtime), content

    def _manifest(self, source: str, left_out: frozenset[bytes]) -> Manifest:
        path = self._find(source)
        with self._open(path) as archive:
            tree = _Tree(left_out)
            for where, member in self._entries(archive, path):
                if tree.leaves_out(where, path) or _is_place_holder(where, member):
                    if where == path:
                        raise refusals.missing(source, None)
                    continue
                digest = ""
                if member.isreg() or member.islnk():
                    digest = self._digest(archive, where, member)
                tree.add(where, member, digest)
        return tree.made()

    def _digest(self, archive: TarFile, path: str, member: TarInfo) -> str:
        digest, size = sha256(), 0
        content = self._linked(path) if member.islnk() else self._content(archive, member)
        for piece in content:
            digest.update(piece)
            size += len(piece)
        self._sizes[path] = size
        return digest.hexdigest()

    def _linked(self, path: str) -> Iterator[bytes]:
        """The content of a hard link, which stands in the archive under another name: in an
        archive of the one file it has its own."""
        with self._open(path) as archive:
            member = archive.next()
            if member is not None and member.isreg():
                yield from self._content(archive, member)

    def _content(self, archive: TarFile, member: TarInfo) -> Iterator[bytes]:
        content = archive.extractfile(member)
        while content and (piece := content.read(_CHUNK)):
            yield piece

    def _entries(self, archive: TarFile, top: str) -> Iterator[tuple[str, TarInfo]]:
        """Each member with its path from the guest's root."""
        first: str | None = None
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            name = member.name.strip("/")
            if first is None:
                first = name
            below = name[len(first) :].strip("/")
            yield ("/".join(part for part in (top, below) if part), member)

    @contextmanager
    def _open(self, path: str) -> Iterator[TarFile]:
        import tarfile

        where = f"/containers/{self._container}/archive"
        query = "path=" + quote(b"/" + encode(path), safe="/")
        with (
            self._daemon.connection.client() as api,
            request(api, "GET", where, query, stream=True) as response,
            tarfile.open(
                fileobj=Stream(self._watched(response.iter_content)),
                mode="r|",
                bufsize=_BUFFER,
                encoding="utf-8",
                errors="surrogateescape",
            ) as archive,
        ):
            yield archive

    def _watched(self, chunks: Callable[[int], Iterator[bytes]]) -> Iterator[bytes]:
        for chunk in chunks(_BUFFER):
            if self._cancel.is_set():
                raise Cancelled("cancelled")
            yield chunk

    def _find(self, source: str) -> str:
        """The clean path of the source, by the rules of ``obuild.context.sources``."""
        parts: list[str] = []
        components = source.split("/")
        for index, name in enumerate(components):
            if name in ("", "."):
                continue
            if name == "..":
                raise refusals.outside(source)
            here = (*map(encode, parts), encode(name))
            found = None if "\0" in name else self._guest.look(here)
            if found is None:
                raise refusals.missing(source, None)
            parts.append(name)
            last = index == len(components) - 1
            if found.directory or (last and (found.regular or found.link)):
                continue
            if found.regular:
                raise refusals.not_a_folder(parts, source)
            target = decode(self._guest.header(here).linkname.encode()) if found.link else None
            raise refusals.not_regular(parts, source, target)
        return "/".join(parts)


class _Tree:
    """Items in the order of an archive, a folder before its items, made into a manifest."""

    def __init__(self, left_out: frozenset[bytes]):
        self._left_out = left_out
        self._made: dict[str, Manifest | None] = {}
        self._items: dict[str, list[str]] = {}
        self._attributes: dict[str, tuple[Attributes, int]] = {}

    def leaves_out(self, path: str, top: str) -> bool:
        below = encode(path[len(top) :]).split(b"/")
        return any(name in self._left_out for name in below if name)

    def add(self, path: str, member: TarInfo, digest: str) -> None:
        attributes = Attributes(member.mode & 0o7777, member.uid, member.gid)
        mtime = int(member.mtime)
        if self._made:
            self._items[path.rpartition("/")[0]].append(path)
        if digest:
            executable = bool(member.mode & 0o111)
            self._made[path] = File(
                path, digest, executable, member.size, mtime, attributes=attributes
            )
        elif member.issym():
            self._made[path] = Symlink(path, member.linkname, mtime, attributes=attributes)
        elif member.isdir():
            self._made[path], self._items[path] = None, []
            self._attributes[path] = attributes, mtime
        else:
            raise refusals.unsupported(path)

    def made(self) -> Manifest:
        if not self._made:
            raise untrue("the daemon sends an archive without files")
        top = next(iter(self._made))
        for path in reversed(self._made):  # items stand after their folder
            if self._made[path] is None:
                items = (self._made.get(item) for item in self._items[path])
                kept = tuple(item for item in items if item is not None)
                if kept or path == top or path not in (*_FOLDERS, "etc"):
                    attributes, mtime = self._attributes[path]
                    ordered = sorted(kept, key=lambda item: encode(item.path.rpartition("/")[2]))
                    self._made[path] = Dir(path, tuple(ordered), mtime, attributes=attributes)
        made = self._made[top]
        assert made is not None
        return made


def _is_place_holder(path: str, member: TarInfo) -> bool:
    """Whether it is what Docker puts at ``path`` of a container whose image has nothing
    there (moby, ``daemon/initlayer``)."""
    if path == "etc/mtab":
        return member.issym() and member.linkname == "/proc/mounts"
    if path in _PLACES:
        return member.isreg() and member.size == 0 and member.mode & 0o7777 == 0o755
    return any(path == place or path.startswith(f"{place}/") for place in _ALWAYS)
