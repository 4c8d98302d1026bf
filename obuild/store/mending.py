"""A damaged database is kept aside, under a name that tells when, and a new one is begun.

What is lost with it can be found again: the engine's images bear obuild's mark, and its claim
knows the store's id. Damage that shows only while a database is used is noted in a file
beside it, so that whoever opens it next looks at all of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event

from obuild.store.database import Database
from obuild.store.failures import DamagedDatabase, store_errors
from obuild.store.folders import DATABASE, Folders, make_empty
from obuild.store.locks import Locks

__all__ = ["open_database", "remove_aside", "state_bytes"]

_ASIDE = f"{DATABASE}.corrupt-"
_SIDE_FILES = ("-wal", "-shm")


def open_database(folders: Folders, timeout: float, warn: Callable[[str], None] | None) -> Database:
    """The database of the store; with ``warn``, which is told of it, a damaged one is
    replaced by an empty one. Without, that is an error.

    Raises ``StoreError``.
    """

    def opened() -> Database:
        # Closing a damaged one would remove its side files, or write them into it.
        aside = warn is not None
        return Database(folders.database_path, folders.path, timeout=timeout, untouched=aside)

    if warn is None:
        return opened()
    try:
        return opened()
    except DamagedDatabase:
        with Locks(folders.locks, folders.path).hold("database", Event(), lambda: None):
            try:
                return opened()  # another process may have mended it meanwhile
            except DamagedDatabase as error:
                kept = _set_aside(folders)
                warn(
                    f"{error.message}; it is kept as {kept}, and a new one is made of what the"
                    " engine has"
                )
            return opened()


def remove_aside(folders: Folders) -> None:
    """Remove the databases that were kept aside."""
    with store_errors(folders.path):
        for name in _kept_aside(folders):
            os.unlink(name, dir_fd=folders.database)


def state_bytes(folders: Folders) -> int:
    """The bytes of all databases, those that were kept aside included."""
    size = 0
    with store_errors(folders.path), os.scandir(folders.database) as entries:
        for entry in entries:
            try:
                size += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # a side file that has just gone
                continue
    return size


def _kept_aside(folders: Folders) -> list[str]:
    return sorted(name for name in os.listdir(folders.database) if name.startswith(_ASIDE))


def _set_aside(folders: Folders) -> str:
    """Rename the database and its side files; the path of the renamed one."""
    name = f"{_ASIDE}{time.strftime('%Y-%m-%dT%H.%M.%SZ', time.gmtime())}"
    with store_errors(folders.path):
        taken = _kept_aside(folders)
        while name in taken:
            name += "+"
        # The database last: whoever opens it meanwhile finds the damaged one, and waits.
        for suffix in (*_SIDE_FILES, ""):
            try:
                os.rename(
                    DATABASE + suffix,
                    name + suffix,
                    src_dir_fd=folders.database,
                    dst_dir_fd=folders.database,
                )
            except FileNotFoundError:
                continue
        make_empty(folders.database)
    return os.path.join(os.path.dirname(folders.database_path), name)
