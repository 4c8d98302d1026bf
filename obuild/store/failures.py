"""What SQLite and the file system answer, as a ``StoreError`` that says what to do.

SQLite's result codes: https://www.sqlite.org/rescode.html (the low byte is the primary one).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from obuild.errors import StoreError

__all__ = ["DamagedDatabase", "damaged", "store_errors"]

_FULL = ("there is no space left for it", "Make room on that file system, or give another --store.")
_READ_ONLY = (
    "it cannot be written",
    "obuild writes to its store even for a cached build: "
    "mount it writable, mend its permissions, or give another --store.",
)
_LOCKED = (
    "its database stayed locked by another process",
    "Wait until the other program that uses this store is done, or end it.",
)
_DEVICE = (
    "reading or writing it failed",
    "Look at the disk and at the kernel's log; the store must be on a file system that works.",
)

_BY_CODE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_AUTH: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_IOERR: _DEVICE,
}

_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
}

_DAMAGED = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_MISMATCH,
    # A statement that does not fit the tables: they are not those that this store made.
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
)


class DamagedDatabase(StoreError):
    """What the database holds makes no sense. One that is only locked, not readable, on a
    full disk or of a newer obuild is not damaged."""


def damaged(path: str, detail: str) -> DamagedDatabase:
    """The error for a database at ``path`` (the store's directory) that makes no sense."""
    return DamagedDatabase(
        f"the database of the store {path} is damaged: {detail}",
        hint=f"The next `obuild run` keeps it aside in {os.path.join(path, 'state', 'db')}, makes "
        "a new one and takes over the images that bear obuild's mark.",
    )


@contextmanager
def store_errors(path: str) -> Iterator[None]:
    """Errors of SQLite and of the system that pass through become ``StoreError``."""
    try:
        yield
    except sqlite3.Error as error:
        raise _from_sqlite(path, error) from error
    except OSError as error:
        raise _from_system(path, error) from error


def _from_sqlite(path: str, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module itself
        # It is what it says of a text that is none; else a fault of this program.
        return damaged(path, str(error)) if isinstance(error, sqlite3.OperationalError) else error
    primary = code & 0xFF
    if primary in _DAMAGED:
        return damaged(path, str(error))
    # SQLite speaks of I/O or of opening where a side file could not be made on a full disk.
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _disk_is_full(path):
        primary = sqlite3.SQLITE_FULL
    if primary not in _BY_CODE:
        return error
    return _error(path, _BY_CODE[primary], str(error))


def _from_system(path: str, error: OSError) -> StoreError:
    words = _BY_ERRNO.get(error.errno or 0, _DEVICE)
    detail = error.strerror or str(error)
    if isinstance(error.filename, str):
        detail = f"{error.filename}: {detail}"
    return _error(path, words, detail)


def _error(path: str, words: tuple[str, str], detail: str) -> StoreError:
    return StoreError(f"the store {path} cannot be used: {words[0]} ({detail})", hint=words[1])


def _disk_is_full(path: str) -> bool:
    try:
        found = os.statvfs(path)
    except OSError:  # gone altogether: then it is no lack of space
        return False
    return found.f_bavail * found.f_frsize < 1 << 20
