"""Content-addressed files: ``FOLDER/sha256/HEX``, and ``FOLDER/parts`` for those to come.

A blob gets its name in one step, after its content was verified; so what bears a name is
whole. A part is locked with ``flock`` while somebody writes it: the kernel frees the lock
of a process that dies, and the next one goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from typing import IO

from obuild.errors import Cancelled, ImageError, StoreError
from obuild.images.content import Descriptor, hex_of
from obuild.images.parts import Incoming, WrongContent, is_current, locked, store_error, write_all

__all__ = ["Blobs", "Incoming"]

_LOOK = 0.1
_STALLED = 30.0
"""Seconds without a new byte after which a part that another writes is no longer waited for."""
_SUFFIX = ".part"


class Blobs:
    """The blobs below ``folder``, which is made if need be.

    All methods raise ``StoreError`` where the file system refuses, and ``ImageError`` for a
    digest that is none. May be used by several threads and processes at once.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._whole = folder / "sha256"
        self._parts = folder / "parts"
        with self._faults():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for made in (self._whole, self._parts):
                made.mkdir(mode=0o700, exist_ok=True)

    def has(self, digest: str) -> bool:
        with self._faults():
            return self._path(digest).is_file()

    def open(self, digest: str) -> IO[bytes]:
        """The blob for reading, ``ImageError`` if not there."""
        with self._found(digest), self._faults():
            return self._path(digest).open("rb")

    def size(self, digest: str) -> int:
        """Bytes. ``ImageError`` if it is not there."""
        with self._found(digest), self._faults():
            return self._path(digest).stat().st_size

    def read(self, digest: str, limit: int) -> bytes:
        """A small document, verified once more. ``ImageError`` if it is over ``limit`` bytes."""
        with self.open(digest) as file, self._faults():
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ImageError(f"{digest} is larger than the {limit} bytes that it may have")
        if hashlib.sha256(content).hexdigest() != hex_of(digest):
            raise ImageError(
                f"the stored blob {digest} is damaged",
                hint=f"remove {self._path(digest)}; it is fetched again when it is needed",
            )
        return content

    def put(self, pieces: Iterable[bytes], media_type: str) -> Descriptor:
        """Keep any content, under the digest that it turns out to have."""
        with self._new_part() as (path, part):
            hashed, size = hashlib.sha256(), 0
            for piece in pieces:
                hashed.update(piece)
                size += len(piece)
                with self._faults():
                    write_all(part, piece)
            with self._faults():
                path.rename(self._whole / hashed.hexdigest())
        return Descriptor(media_type, f"sha256:{hashed.hexdigest()}", size)

    @contextmanager
    def incoming(
        self, digest: str, size: int | None, cancel: Event | None = None
    ) -> Iterator[Incoming]:
        """A blob that comes in pieces.

        While another thread or process writes the same one, its end is waited for; the blob
        may be there then (``Incoming.there``). When the block ends without an error, size
        and digest are verified: ``ImageError`` if they are wrong, and the part is removed.
        When the block raises, the part stays and the next one goes on with it. Raises
        ``Cancelled`` if ``cancel`` is set while it waits.
        """
        cancel = cancel or Event()
        taken = self._take(digest, cancel)
        if taken is None:
            yield Incoming(digest, self.size(digest), None, self._folder)
            return
        path, part = taken
        try:
            with self._faults():
                coming = Incoming(digest, size, part, self._folder)
                coming.resume(cancel)
            try:
                yield coming
            except BaseException:
                if coming.offset == 0:
                    path.unlink(missing_ok=True)
                raise
            self._finish(coming, path)
        finally:
            os.close(part)

    def remove(self, digest: str) -> None:
        """It is no error if it is not there."""
        with self._faults():
            self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, sorted."""
        with self._faults():
            names = sorted(os.listdir(self._whole))
        return (f"sha256:{name}" for name in names)

    def sweep(self, older_than: float) -> None:
        """Remove the parts that nobody writes, last written ``older_than`` seconds ago."""
        with self._faults():
            for name in os.listdir(self._parts):
                path = self._parts / name
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime < older_than:
                        continue
                    part = locked(path, create=False)
                    if part is not None:
                        path.unlink()
                        os.close(part)

    def _path(self, digest: str) -> Path:
        return self._whole / hex_of(digest)

    def _take(self, digest: str, cancel: Event) -> tuple[Path, int] | None:
        """A part of this digest, locked; None if the blob is there by then."""
        for number in count():
            name = f"{hex_of(digest)}.{number}{_SUFFIX}" if number else hex_of(digest) + _SUFFIX
            path = self._parts / name
            grown, seen = time.monotonic(), -1
            while time.monotonic() - grown < _STALLED:
                with self._faults():
                    if self.has(digest):
                        return None
                    part = locked(path)
                    if part is not None and self.has(digest):  # made since it was looked for
                        path.unlink()
                        os.close(part)
                        return None
                if part is not None:
                    return path, part
                with suppress(FileNotFoundError):
                    found = path.stat().st_size
                    if found != seen:
                        grown, seen = time.monotonic(), found
                if cancel.wait(_LOOK):
                    raise Cancelled("the pull was cancelled")
        raise AssertionError("count() ends nowhere")

    @contextmanager
    def _new_part(self) -> Iterator[tuple[Path, int]]:
        """A part that nobody goes on with; it is gone at the end, whatever happens."""
        path, part = self._unused()
        try:
            with self._faults():
                os.truncate(part, 0)
            yield path, part
        finally:
            if is_current(path, part):
                path.unlink()
            os.close(part)

    def _unused(self) -> tuple[Path, int]:
        for number in count():
            path = self._parts / f"put-{os.getpid()}-{number}{_SUFFIX}"
            with self._faults():
                part = locked(path)
            if part is not None:
                return path, part
        raise AssertionError("count() ends nowhere")

    def _finish(self, coming: Incoming, path: Path) -> None:
        wrong = coming.wrong()
        with self._faults():
            if wrong is None:
                path.rename(self._path(coming.digest))
                return
            path.unlink(missing_ok=True)
        raise WrongContent(f"what came for {coming.digest} is something else: {wrong}")

    @contextmanager
    def _found(self, digest: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise ImageError(
                    f"there is no blob {digest} in {self._folder}",
                    hint="somebody removed it; pull the image again",
                ) from error
            raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store_error(self._folder, error) from error
