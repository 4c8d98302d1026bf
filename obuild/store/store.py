"""The store: one state directory, opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Self

from obuild.store.database import Database
from obuild.store.folders import Folders, open_folders
from obuild.store.index import Index
from obuild.store.locks import VISIT, Locks
from obuild.store.logs import Follower, LogFile, Logs
from obuild.store.mending import open_database, remove_aside, state_bytes
from obuild.store.rows import timestamp

if TYPE_CHECKING:
    from obuild.store.digests import Digests

__all__ = ["Store"]


class Store(Index):
    """An open store. It may be used from several threads at once.

    Every method may raise ``StoreError``. Keys are 64 hex digits. ``path`` is the real path.
    """

    def __init__(self, folders: Folders, database: Database):
        super().__init__(folders.path, database, Locks(folders.locks, folders.path))
        self._folders: Folders | None = folders
        self._logs = Logs(folders.logs, folders.path)
        self._digests: list[Digests] = []
        self._visit = ""

    @classmethod
    def open(
        cls,
        path: str,
        *,
        create: bool = True,
        timeout: float = 30.0,
        warn: Callable[[str], None] | None = None,
    ) -> Store:
        """The store at ``path``, made if it is missing and ``create``.

        ``timeout``: seconds to wait for another process that has the database locked.
        ``warn`` is told of a damaged database, which is then kept aside and replaced by an
        empty one; it is for whoever will have the engine say what there is. Raises
        ``StoreError`` for what is no directory of this user's, cannot be written, was made
        by a newer obuild, or is damaged (without ``warn``).
        """
        folders = open_folders(path, create=create)
        try:
            database = open_database(folders, timeout, warn)
        except BaseException:
            folders.close()
            raise
        return cls(folders, database)

    def close(self) -> None:
        """Write what is not written yet, and let go of everything.

        No thread may hold a lock or use the store any more.
        """
        if self._folders is None:
            return
        folders, self._folders = self._folders, None
        try:
            for digests in self._digests:
                digests.close()
        finally:
            try:
                self._database.close()
            finally:
                folders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Locks

    @contextmanager
    def visit(self) -> Iterator[str]:
        """Hold the lock of a new visit and give its name.

        Taken before the store is asked what there is: all that is used or made from then
        on stays as long as the lock is held (see ``holds``).
        """
        name = f"{VISIT}{os.urandom(8).hex()}"
        with self._locks.hold(name, Event(), lambda: None):
            self._since = timestamp()
            self._visit = name
            yield name

    def beside(self) -> bool:
        """Whether another visit than the last one of this object's is running."""
        held = self._locks.all_held()
        return any(name.startswith(VISIT) and name != self._visit for name in held)

    def lock(
        self,
        key: str,
        cancel: Event,
        waiting: Callable[[], None],
        poll: Callable[[], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Hold the lock of ``key``, against threads and processes alike.

        ``waiting`` is called once if it is held by another, then ``poll`` at least every 50
        ms. Raises ``Cancelled`` once ``cancel`` is set while it waits.
        """
        return self._locks.hold(key, cancel, waiting, poll)

    def alive(self, key: str) -> bool:
        """Whether any thread of any process holds the lock of ``key``."""
        return self._locks.held(key)

    def running(self) -> list[str]:
        """The names whose locks are held now, sorted."""
        return self._locks.all_held()

    def stale(self) -> list[str]:
        """The keys of steps that were in work when whoever did them died."""
        return self._locks.abandoned()

    def clear_stale(self) -> None:
        """What the dead had in work is put right: their locks go."""
        self._locks.clear_abandoned()

    # Logs

    def find(self, prefix: str) -> list[str]:
        """The keys that begin with these hex digits, sorted; those with only a log, too."""
        wanted = prefix.lower()
        if not wanted or wanted.strip("0123456789abcdef"):
            return []
        logged = [key for key in self._logs.logged() if key.startswith(wanted)]
        return sorted({*self.find_rows(wanted), *logged})

    def forget_all(self) -> None:
        """Remove all rows, records, logs, and databases that were kept aside; who the store
        is stays."""
        super().forget_all()
        for key in self._logs.logged():
            self._logs.remove(key)
        if self._folders is not None:
            remove_aside(self._folders)

    def log_path(self, key: str) -> str:
        return self._logs.file(key)

    def open_log(self, key: str) -> LogFile:
        """A new, empty log; what is written to it is seen by readers at once."""
        return self._logs.create(key)

    def read_log(self, key: str) -> Iterator[bytes] | None:
        """The log in chunks, None if there is none."""
        return self._logs.read(key)

    def follow_log(self, key: str) -> Follower:
        """A reader of a log that is still written, or not even begun."""
        return self._logs.follow(key)

    def remove_log(self, key: str) -> None:
        self._logs.remove(key)

    def log_sizes(self) -> dict[str, int]:
        """The bytes of each log, by key."""
        return self._logs.sizes()

    def database_size(self) -> int:
        """The bytes of the database with its side files, and of those that were kept aside."""
        return 0 if self._folders is None else state_bytes(self._folders)

    # Digests

    def digests(self, root: str) -> Digests:
        """The digests of files in the build context ``root``; written back by ``close``."""
        # A run without copies from the context needs neither these nor what they import.
        from obuild.store.digests import Digests

        made = Digests(self._database, root)
        self._digests.append(made)
        return made
