"""What a copy from another build puts into a guest.

Whoever reads the snapshot, the files are checked as they pass: kind, name, link target and
digest must be those of the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Protocol

from obuild.context import refusals
from obuild.context.headers import (
    DIRECTORY,
    REGULAR,
    SYMLINK,
    gather,
    header,
    header_length,
    padding,
)
from obuild.context.placing import place, preorder
from obuild.engine.docker.sources.serving import untrue
from obuild.errors import SourceError
from obuild.ir.manifest import Attributes, Dir, File, Manifest, Symlink
from obuild.source import encode

__all__ = ["Reader", "SourceFiles"]


class Reader(Protocol):
    """Two ways to the files of a snapshot; see ``Archived`` for the methods."""

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]: ...

    def sizes(self, files: Sequence[File]) -> list[int]: ...

    def members(
        self, tops: Sequence[Sequence[Manifest]], sizes: Sequence[int]
    ) -> Iterator[tuple[int, Iterator[bytes]]]: ...


class SourceFiles:
    """What a copy puts into a guest; see ``obuild.engine.Files``. Owners and modes are those
    of a copy from the build context."""

    directory: bool

    def __init__(
        self,
        reader: Callable[[], Reader],
        manifests: Sequence[Manifest],
        destination: str,
        owner: tuple[int, int],
    ):
        self.directory = destination.endswith("/")
        if not self.directory and len(manifests) != 1:
            raise ValueError("several sources need a destination that ends in a slash")
        self._reader = reader
        self._manifests = manifests
        self._owner = owner
        self._sizes: list[int] | None = None

    def names(self, root: bytes) -> Iterator[bytes]:
        """See ``obuild.engine.Measured``."""
        return (name for _, name in self._placed(root))

    def length(self, root: bytes) -> int:
        """See ``obuild.engine.Measured``."""
        sizes = iter(self._measured())
        total = 0
        for item, name in self._placed(root):
            size = next(sizes) if isinstance(item, File) else 0
            target = encode(item.target) if isinstance(item, Symlink) else b""
            written = len(name or b".") + 1 if isinstance(item, Dir) else len(name)
            total += header_length(written, len(target)) + size + len(padding(size))
        return total

    def tar(self, root: bytes) -> Iterator[bytes]:
        """See ``obuild.engine.Files``."""
        return gather(self._members(root))

    def _members(self, root: bytes) -> Iterator[bytes]:
        sizes = self._measured()
        tops = [list(preorder(top)) for top in self._manifests]
        sent, wanted = self._reader().members(tops, sizes), iter(sizes)
        for item, name in self._placed(root):
            mtime, content = next(sent)
            size = next(wanted) if isinstance(item, File) else 0
            yield self._header(item, name, mtime, size)
            if isinstance(item, File):
                yield from _checked(item, content)
                yield padding(size)
        for _ in sent:  # the end, and the status of the tools
            raise untrue("its tar sends more than it was asked for")

    def _placed(self, root: bytes) -> Iterator[tuple[Manifest, bytes]]:
        for top in self._manifests:
            name = encode(top.path.rpartition("/")[2])
            target = root
            if self.directory:
                target = root + b"/" + name if root and name else root + name
            yield from place(top, target)

    def _header(self, item: Manifest, name: bytes, mtime: int, size: int) -> bytes:
        if not name and not isinstance(item, Dir):
            raise SourceError(
                f"{refusals.show(item.path)} cannot become the root of the guest",
                hint="Give the destination a name, or a slash at its end.",
            )
        match item:
            case Dir():
                attributes = Attributes(0o755, *self._owner)
                return header((name or b".") + b"/", DIRECTORY, attributes, mtime=mtime)
            case Symlink():
                attributes, target = Attributes(0o777, *self._owner), encode(item.target)
                return header(name, SYMLINK, attributes, mtime=mtime, target=target)
            case File():
                attributes = Attributes(0o755 if item.executable else 0o644, *self._owner)
                return header(name, REGULAR, attributes, mtime=mtime, size=size)

    def _measured(self) -> list[int]:
        """The size of each file, in order."""
        if self._sizes is None:
            items = (item for top in self._manifests for item in preorder(top))
            files = [item for item in items if isinstance(item, File)]
            self._sizes = self._reader().sizes(files) if files else []
        return self._sizes


def _checked(item: File, content: Iterator[bytes]) -> Iterator[bytes]:
    digest = sha256()
    for piece in content:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != item.digest:
        raise untrue(f"{refusals.show(item.path)} is not what its manifest says")
