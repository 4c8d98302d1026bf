"""The directories of a store: made private, opened without following links.

``state/db`` holds the database, ``logs`` the logs, ``locks`` the locks. They are kept open,
and files in them are opened relative to them, so a path that is swapped later leads nowhere.
Below the store nothing may be a link or belong to another user; the path down to it may go
through links, but its last component may not be one (golden: ``prefix/``).

What is there already keeps working with narrower modes: a store that OBuilder made, with
directories 0755 and files 0644, is tightened. The store's own directory is tightened only if
it holds nothing but a store, since a user may name a directory that serves other ends too.
"""

from __future__ import annotations

import errno
import os
import stat

from obuild.errors import StoreError
from obuild.store.failures import store_errors
from obuild.values import Value

__all__ = ["DATABASE", "Folders", "make_empty", "open_folders"]

_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS = 0o077
_OF_A_STORE = frozenset({"state", "logs", "locks", "empty"})
"""What may stand in a Docker store; ``empty`` is OBuilder's."""

DATABASE = "db.sqlite"


class Folders(Value):
    """Real path of the store, and open descriptors of its directories."""

    path: str
    database: int
    logs: int
    locks: int

    @property
    def database_path(self) -> str:
        return os.path.join(self.path, "state", "db", DATABASE)

    def close(self) -> None:
        for descriptor in (self.database, self.logs, self.locks):
            os.close(descriptor)


def open_folders(path: str, *, create: bool) -> Folders:
    """The directories of the store at ``path``, made where they are missing.

    With ``create`` False a missing store is an error. Raises ``StoreError``.
    """
    with store_errors(path):
        return _open_folders(path, create)


def _open_folders(path: str, create: bool) -> Folders:
    made = _find_or_make(path, create)
    real = os.path.realpath(path)
    root = _open_checked(real, real, None)
    opened: list[int] = []
    try:
        if not create and not _is_there("state", root):
            raise _missing(path)
        if not made and set(os.listdir(root)) <= _OF_A_STORE:
            _tighten_folder(root)
        state = _subfolder(root, real, "state")
        opened.append(state)
        database = _subfolder(state, real, "state/db")
        opened.append(database)
        opened.append(_subfolder(root, real, "logs"))
        opened.append(_subfolder(root, real, "locks"))
        _check_database(database, real)
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    finally:
        os.close(root)
    os.close(opened[0])
    return Folders(real, *opened[1:])


def _find_or_make(path: str, create: bool) -> bool:
    """Whether the directory had to be made."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        if not create or not path:
            raise _missing(path) from None
        os.makedirs(path, mode=0o700, exist_ok=True)
        return True
    except NotADirectoryError:
        raise StoreError(
            f"the store {path} cannot be used: something above it is not a directory",
            hint="Give a directory as --store=docker:PATH.",
        ) from None
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(
            f"the store {path} exists, but is not a directory: it is a link",
            hint=f"Name the directory itself: {os.path.realpath(path)}",
        )
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(
            f"the store {path} exists, but is not a directory",
            hint="Give a directory as --store=docker:PATH.",
        )
    return False


def _missing(path: str) -> StoreError:
    return StoreError(
        f"there is no store at {path}",
        hint="Give the directory of a store as --store=docker:PATH; `obuild run` makes one.",
    )


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _subfolder(parent: int, real: str, relative: str) -> int:
    """Open ``relative``, whose last component lies in ``parent``; made if missing."""
    name = os.path.basename(relative)
    shown = os.path.join(real, relative)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    else:
        return _open_checked(name, shown, parent)
    folder = _open_checked(name, shown, parent)
    try:
        _tighten_files(folder)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open_checked(name: str, shown: str, parent: int | None) -> int:
    """A descriptor of a directory that is no link and belongs to this user."""
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        raise _not_ours(shown, "is a link or a file where a directory must be")
    _check_owner(shown, found)
    folder = os.open(name, _OPEN_DIR, dir_fd=parent)
    try:  # what was looked at and what was opened need not be the same
        _check_owner(shown, os.fstat(folder))
    except BaseException:
        os.close(folder)
        raise
    return folder


def _check_owner(shown: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _not_ours(shown, f"belongs to the user {found.st_uid}, not to {os.geteuid()}")


def _not_ours(shown: str, why: str) -> StoreError:
    return StoreError(
        f"the store cannot be used: {shown} {why}",
        hint="A store is for one user and holds no links: run obuild as its owner, "
        "or give another --store.",
    )


def _tighten_folder(folder: int) -> bool:
    """Whether ``folder`` had been open to others. One that many share (sticky) is left."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    if mode & stat.S_ISVTX or not mode & _OTHERS:
        return False
    os.fchmod(folder, 0o700)
    return True


def _tighten_files(folder: int) -> None:
    """Narrow ``folder``; the files in it too, if others could get at them so far."""
    if not _tighten_folder(folder):
        return
    for entry in os.scandir(folder):
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            os.chmod(entry.name, 0o600, dir_fd=folder)


def _check_database(folder: int, real: str) -> None:
    """Let there be a database file, 0600, that SQLite may open by its path.

    SQLite gives its side files the mode of the database, and goes through a link of that
    name, so it must be no link. The file itself is never opened here: closing it would drop
    the locks that another connection of this process holds on it (POSIX).
    """
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        shown = os.path.join(real, "state", "db", name)
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise _not_ours(shown, "is not a file")
        _check_owner(shown, found)
        if found.st_mode & _OTHERS:
            os.chmod(name, 0o600, dir_fd=folder)
    for name in (".", DATABASE):
        while not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
            # Missing, or another process is about to put a damaged one aside.
            there = _is_there(name, folder)
            if there and not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
                raise _unwritable(real, name, folder)
            if not there:
                make_empty(folder)


def make_empty(folder: int) -> None:
    """An empty database in ``folder`` (a descriptor), if there is none yet.

    It is put in place whole: an empty file is one (SQLite file format).
    """
    name = f"{DATABASE}.{os.urandom(8).hex()}"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
    try:
        os.link(name, DATABASE, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:  # another process was faster
        pass
    finally:
        os.unlink(name, dir_fd=folder)


def _unwritable(real: str, name: str, folder: int) -> OSError:
    """The system's own error for a write that must fail."""
    read_only = os.fstatvfs(folder).f_flag & os.ST_RDONLY
    number = errno.EROFS if read_only else errno.EACCES
    return OSError(number, os.strerror(number), os.path.normpath(f"{real}/state/db/{name}"))
