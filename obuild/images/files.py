"""Files by name, out of a folder or an archive that anybody may have made.

Nothing of them is ever written under its own name, so no name leads anywhere; those that
try are refused all the same, since whoever made them wants something else than we do.

Of an archive that can be sought in, the places of its files are noted first, and only what
is wanted is read then. A compressed one is read from its beginning each time; small files
are remembered, so that this happens twice and not once for each document.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import IO, Protocol

from obuild.errors import Cancelled, ImageError
from obuild.images.blobs import Blobs
from obuild.images.filenames import (
    Missing,
    Names,
    bounded,
    cancellable,
    guarded,
    inside,
    readable,
    too_large,
    unreadable,
)
from obuild.layers.compression import decompressed, is_compressed, pieces_of
from obuild.layers.members import Limits, Members
from obuild.layers.tape import Tape, cut
from obuild.values import Value

__all__ = ["Files", "Found", "opened", "received"]

_LIMITS = Limits(members=1 << 16, name=1024)
_PIECE = 1 << 18
_SMALL = 1 << 16
_REMEMBERED = 1 << 22
_MAGIC = 6


class Found(Value):
    """A file: its name as it was asked for, ``size`` in bytes, and its content, to be read
    before the next file is."""

    name: str
    size: int
    content: Iterator[bytes]


class Files(Protocol):
    """What there is. All raise ``ImageError``."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str, limit: int) -> bytes:
        """A small file. ``ImageError`` if it is over ``limit`` bytes, or is not there."""
        ...

    def each(self, names: Iterable[str]) -> Iterator[Found]:
        """The files of these names, each once, in an order that suits where they are."""
        ...


@contextmanager
def opened(path: Path, blobs: Blobs, cancel: Event) -> Iterator[Files]:
    """The files below a folder, or those of a tar archive, which may be compressed.

    A pipe is read as ``received`` does. Reading raises ``Cancelled`` once ``cancel`` is set.
    """
    with ExitStack() as stack:
        try:
            kind = path.stat().st_mode
            if stat.S_ISDIR(kind):
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, folder)
            elif stat.S_ISREG(kind) or stat.S_ISFIFO(kind):
                file = stack.enter_context(path.open("rb", buffering=0))
        except OSError as error:
            raise unreadable(os.fspath(path), error) from error
        if stat.S_ISDIR(kind):
            yield _Folder(folder, cancel)
        elif stat.S_ISREG(kind):
            yield _Archive(file, cancel)
        elif stat.S_ISFIFO(kind):
            yield received(file, blobs, cancel)
        else:
            raise ImageError(
                f"{path} is neither a file nor a folder", hint="name a folder or a tar archive"
            )


class _Folder:
    """Below an open directory. No link is followed."""

    def __init__(self, folder: int, cancel: Event):
        self._folder = folder
        self._cancel = cancel

    def has(self, name: str) -> bool:
        try:
            with self._open(name):
                return True
        except Missing:
            return False

    def read(self, name: str, limit: int) -> bytes:
        with self._open(name) as file, readable(name):
            return bounded(name, file.read(limit + 1), limit)

    def each(self, names: Iterable[str]) -> Iterator[Found]:
        for name in dict.fromkeys(names):
            with self._open(name) as file:
                size = os.fstat(file.fileno()).st_size
                pieces = cancellable(pieces_of(file), self._cancel)
                yield Found(name, size, guarded(name, pieces))

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        *folders, last = inside(name).split("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with ExitStack() as stack:
            at = self._folder
            try:
                for folder in folders:
                    at = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
                    stack.callback(os.close, at)
                file = stack.enter_context(open(os.open(last, flags, dir_fd=at), "rb"))
            except FileNotFoundError as error:
                raise Missing(name) from error
            except OSError as error:
                raise unreadable(name, error) from error
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"{name} is no file", hint="no tool makes such a thing there")
            yield file


class _Archive:
    """A file that can be sought in."""

    def __init__(self, file: IO[bytes], cancel: Event):
        self._file = file
        self._cancel = cancel
        with readable("the archive"):
            self._compressed = is_compressed(file.read(_MAGIC))
            self._names = Names()
            self._places: dict[str, tuple[int, int]] = {}
            self._small: dict[str, bytes] = {}
            self._look()

    def has(self, name: str) -> bool:
        return self._names.resolve(name) is not None

    def read(self, name: str, limit: int) -> bytes:
        known = self._small.get(self._name(name))
        if known is not None:
            return bounded(name, known, limit)
        for found in self.each([name]):
            if found.size > limit:
                break
            return b"".join(found.content)
        raise too_large(name, limit)

    def each(self, names: Iterable[str]) -> Iterator[Found]:
        wanted = sorted((self._places[self._name(name)], name) for name in dict.fromkeys(names))
        if not self._compressed:
            for (place, size), name in wanted:
                yield Found(name, size, guarded(name, self._stretch(place, size)))
            return
        tape = self._unpacked()
        for (place, size), name in wanted:
            if place < tape.position:  # two names of one file
                tape = self._unpacked()
            with readable(name):
                tape.skip(place - tape.position)
            yield Found(name, size, guarded(name, tape.pieces(size)))

    def _stretch(self, place: int, left: int) -> Iterator[bytes]:
        self._file.seek(place)
        while left:
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise cut()
            if self._cancel.is_set():
                raise Cancelled("reading the image was cancelled")
            left -= len(piece)
            yield piece

    def _unpacked(self) -> Tape:
        self._file.seek(0)
        return Tape(decompressed(cancellable(pieces_of(self._file), self._cancel)))

    def _look(self) -> None:
        self._file.seek(0)
        plain = not self._compressed
        tape = _SeekingTape(self._file, self._cancel) if plain else self._unpacked()
        members = Members(tape, _LIMITS)
        room = _REMEMBERED
        for member in members:
            name = self._names.add(member)
            if name is None:
                continue
            self._places[name] = tape.position, member.size
            if not plain and member.size <= min(room, _SMALL):
                self._small[name] = b"".join(members.content())
                room -= member.size

    def _name(self, name: str) -> str:
        found = self._names.resolve(name)
        if found is None:
            raise Missing(name)
        return found


class _SeekingTape(Tape):
    """A tape that is wound forward and not read where nobody looks."""

    def __init__(self, file: IO[bytes], cancel: Event):
        super().__init__(cancellable(pieces_of(file), cancel))
        self._file = file

    def skip(self, size: int) -> None:
        held = len(self._piece) - self._at
        if size <= held:
            self._at += size
            return
        self._at += held
        self._before += size - held
        self._file.seek(size - held, os.SEEK_CUR)


class _Received:
    """What came by a stream, and was put into blobs as it passed."""

    def __init__(self, stream: IO[bytes] | Iterator[bytes], blobs: Blobs, cancel: Event):
        self._blobs = blobs
        self._cancel = cancel
        self._names = Names()
        self._digests: dict[str, str] = {}
        self._small: dict[str, bytes] = {}
        room = _REMEMBERED
        with readable("the archive"):
            members = Members(Tape(decompressed(cancellable(pieces_of(stream), cancel))), _LIMITS)
            for member in members:
                name = self._names.add(member)
                if name is None:
                    continue
                if member.size <= min(room, _SMALL):
                    self._small[name] = b"".join(members.content())
                    room -= member.size
                else:
                    pieces = (bytes(piece) for piece in members.content())
                    self._digests[name] = blobs.put(pieces, "").digest

    def has(self, name: str) -> bool:
        return self._names.resolve(name) is not None

    def read(self, name: str, limit: int) -> bytes:
        for found in self.each([name]):
            if found.size > limit:
                break
            return b"".join(found.content)
        raise too_large(name, limit)

    def each(self, names: Iterable[str]) -> Iterator[Found]:
        for name in dict.fromkeys(names):
            real = self._names.resolve(name)
            if real is None:
                raise Missing(name)
            if real in self._small:
                yield Found(name, len(self._small[real]), iter([self._small[real]]))
                continue
            digest = self._digests[real]
            with self._blobs.open(digest) as file:
                pieces = cancellable(pieces_of(file), self._cancel)
                yield Found(name, self._blobs.size(digest), guarded(name, pieces))


def received(stream: IO[bytes] | Iterator[bytes], blobs: Blobs, cancel: Event) -> Files:
    """The files of a tar archive that is read once, and may be compressed.

    The larger ones go into ``blobs`` as they pass, and stay there, wanted or not. Reading
    raises ``Cancelled`` once ``cancel`` is set.
    """
    return _Received(stream, blobs, cancel)
