"""What files are called inside of folders and archives, and what is wrong with them.

A name that leads out is refused, though nothing is ever written under it; a link leads to a
file of the same archive, or nowhere.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from obuild.errors import Cancelled, ImageError
from obuild.layers.errors import ArchiveError, show
from obuild.layers.members import Kind, Member

__all__ = [
    "Missing",
    "Names",
    "bounded",
    "cancellable",
    "guarded",
    "inside",
    "readable",
    "too_large",
    "unreadable",
]

_MOST_LINKS = 10
_LINKS = (Kind.LINK, Kind.SYMLINK)


class Names:
    """The names of an archive: which are files, and which lead to files."""

    def __init__(self) -> None:
        self._links: dict[str, str | None] = {}
        """Where a link leads, None for a file."""

    def add(self, member: Member) -> str | None:
        """The name of a file; None for what is none, or leads to one."""
        name = _inside(member.name)
        if member.kind == Kind.DIRECTORY:
            return None
        if name in self._links:
            raise ArchiveError(
                f"the archive has {show(member.name)} twice",
                hint="two readers of it could see two images; make it anew",
            )
        if member.sparse is not None:
            raise ArchiveError(
                f"{show(member.name)} is stored with holes, as no tool for images does",
                hint="make the archive without tar's option --sparse",
            )
        if member.kind == Kind.FILE:
            self._links[name] = None
            return name
        if member.kind in _LINKS:
            base = posixpath.dirname(member.name) if member.kind == Kind.SYMLINK else b""
            self._links[name] = _inside(posixpath.join(base, member.target))
        return None

    def resolve(self, name: str) -> str | None:
        """The file that ``name`` is or leads to."""
        name = inside(name)
        for _ in range(_MOST_LINKS):
            if name not in self._links:
                return None
            target = self._links[name]
            if target is None:
                return name
            name = target
        raise ArchiveError(
            f"{_shown(name)} is a link that leads to links without end",
            hint="it was made to do harm: do not trust it",
        )


def inside(name: str) -> str:
    """The name without detours. Raises ``ArchiveError`` if it leads out."""
    return _inside(_bytes(name))


def _inside(name: bytes) -> str:
    plain = posixpath.normpath(name)
    if name.startswith(b"/") or plain == b".." or plain.startswith(b"../"):
        raise ArchiveError(
            f"{show(name)} leads out of it",
            hint="no tool for images makes such an archive: do not trust it",
        )
    return plain.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    """Lone surrogates, which a document may have in its texts, lead nowhere."""
    return name.encode("utf-8", "replace")


def _shown(name: str) -> str:
    return show(_bytes(name))


class Missing(ImageError):
    def __init__(self, name: str):
        super().__init__(
            f"{_shown(name)} is missing", hint="it is not whole, or not of this kind; make it anew"
        )


def bounded(name: str, content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise too_large(name, limit)
    return content


def too_large(name: str, limit: int) -> ImageError:
    return ImageError(
        f"{_shown(name)} is larger than the {limit} bytes that it may have",
        hint="it is damaged, or made to do harm",
    )


def guarded(name: str, pieces: Iterator[bytes] | Iterator[memoryview]) -> Iterator[bytes]:
    """The pieces; ``ImageError`` where they cannot be read."""
    with readable(name):
        for piece in pieces:
            yield bytes(piece)


@contextmanager
def readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: OSError) -> ImageError:
    return ImageError(
        f"{_shown(name)} cannot be read: {error.strerror or error}",
        hint="see that it is there, is no link inside of it, and that you may read it",
    )


def cancellable(pieces: Iterator[bytes], cancel: Event) -> Iterator[bytes]:
    """The pieces, until ``cancel`` is set: then ``Cancelled``."""
    for piece in pieces:
        if cancel.is_set():
            raise Cancelled("reading the image was cancelled")
        yield piece
