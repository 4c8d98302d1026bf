"""The logs of steps: a file each, as OBuilder names them, read while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from typing import TYPE_CHECKING

from obuild.store.failures import store_errors
from obuild.store.locks import check_name

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Follower", "Logs", "LogFile"]

_CHUNK = 1 << 16
_SUFFIX = ".log"


class LogFile(FileIO):
    """A log that is written: no buffer, and a write is whole or raises ``StoreError``."""

    def __init__(self, descriptor: int, store: str):
        super().__init__(descriptor, "wb")
        self._store = store

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        total = len(left)
        with store_errors(self._store):
            while left:
                left = left[super().write(left) or 0 :]
        return total


class Follower:
    """Reads a log that another thread or process may still write."""

    def __init__(self, logs: Logs, key: str):
        self._logs = logs
        self._key = key
        self._descriptor: int | None = None
        self._offset = 0

    def read(self) -> bytes:
        """What was written since the last call, empty if nothing was.

        A log that was begun again is read from its start.
        """
        with store_errors(self._logs.path):
            if self._descriptor is None:
                self._descriptor = self._logs.open_existing(self._key)
            if self._descriptor is None:
                return b""
            if os.fstat(self._descriptor).st_size < self._offset:
                self._offset = 0
            parts = list(_read_on(self._descriptor, self._offset))
        self._offset += sum(map(len, parts))
        return b"".join(parts)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Logs:
    """The logs in an open directory. ``path`` is the store's directory, for messages."""

    def __init__(self, folder: int, path: str):
        self._folder = folder
        self.path = path

    def file(self, key: str) -> str:
        """The path of the log of ``key``, whether or not there is one."""
        return os.path.join(self.path, "logs", check_name(key) + _SUFFIX)

    def create(self, key: str) -> LogFile:
        """A new, empty log; an older one of that key is overwritten. Raises ``StoreError``."""
        name = check_name(key) + _SUFFIX
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with store_errors(self.path):
            return LogFile(os.open(name, flags, 0o600, dir_fd=self._folder), self.path)

    def read(self, key: str) -> Iterator[bytes] | None:
        """The log's bytes in chunks, None if there is none. Raises ``StoreError``."""
        with store_errors(self.path):
            descriptor = self.open_existing(key)
        return None if descriptor is None else self._chunks(descriptor)

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        try:
            with store_errors(self.path):
                yield from _read_on(descriptor, 0)
        finally:
            os.close(descriptor)

    def follow(self, key: str) -> Follower:
        """A reader of the log from its start, which need not exist yet."""
        return Follower(self, check_name(key))

    def remove(self, key: str) -> None:
        """Remove the log; it is no error if there is none. Raises ``StoreError``."""
        with store_errors(self.path):
            try:
                os.unlink(check_name(key) + _SUFFIX, dir_fd=self._folder)
            except FileNotFoundError:
                return

    def logged(self) -> list[str]:
        """The keys that have a log, sorted."""
        with store_errors(self.path):
            names = os.listdir(self._folder)
        return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))

    def sizes(self) -> dict[str, int]:
        """The bytes of each key's log."""
        found = {}
        with store_errors(self.path):
            for key in self.logged():
                try:
                    status = os.stat(key + _SUFFIX, dir_fd=self._folder, follow_symlinks=False)
                except FileNotFoundError:  # removed meanwhile
                    continue
                found[key] = status.st_size
        return found

    def open_existing(self, key: str) -> int | None:
        """A descriptor for reading the log, None if there is none."""
        try:
            return os.open(
                check_name(key) + _SUFFIX, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._folder
            )
        except FileNotFoundError:
            return None


def _read_on(descriptor: int, offset: int) -> Iterator[bytes]:
    while chunk := os.pread(descriptor, _CHUNK, offset):
        yield chunk
        offset += len(chunk)
