"""The store: one state directory, opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Self

from obuild.store import records, rows
from obuild.store.database import Database
from obuild.store.folders import Folders, open_folders
from obuild.store.identity import hashed, prefix_of, read_machine_id
from obuild.store.locks import Locks
from obuild.store.logs import Follower, LogFile, Logs
from obuild.store.reconciliation import Reconciliation, reconcile
from obuild.store.records import Record
from obuild.store.rows import Row
from obuild.values import replace

if TYPE_CHECKING:
    from obuild.store.digests import Digests

__all__ = ["Store"]

_SECRET_BYTES = 32


class Store:
    """An open store. It may be used from several threads at once.

    Every method may raise ``StoreError``. Keys are 64 hex digits. ``path`` is the real path.
    """

    def __init__(self, folders: Folders, database: Database):
        self.path = folders.path
        self._folders: Folders | None = folders
        self._database = database
        self._locks = Locks(folders.locks, folders.path)
        self._logs = Logs(folders.logs, folders.path)
        self._digests: list[Digests] = []

    @classmethod
    def open(cls, path: str, *, create: bool = True, timeout: float = 30.0) -> Store:
        """The store at ``path``, made if it is missing and ``create``.

        ``timeout``: seconds to wait for another process that has the database locked.
        Raises ``StoreError`` for what is no directory of this user's, cannot be written, is
        damaged, or was made by a newer obuild.
        """
        folders = open_folders(path, create=create)
        try:
            database = Database(folders.database_path, folders.path, timeout=timeout)
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

    # Identity

    @property
    def prefix(self) -> str:
        """The prefix of the engine's objects that belong to this store."""
        return prefix_of(self.path)

    @property
    def store_id(self) -> str | None:
        """The random id of this store, None if it has none (yet)."""
        found = self._database.value("store_id")
        return found if isinstance(found, str) else None

    def set_store_id(self, store_id: str) -> None:
        self._database.set_value("store_id", store_id)

    @property
    def guest_os(self) -> str | None:
        """The guests' system on this store's engine, None before it was first asked."""
        found = self._database.value("guest_os")
        return found if isinstance(found, str) else None

    def set_guest_os(self, name: str) -> None:
        self._database.set_value("guest_os", name)

    def machine_id(self) -> str:
        """An id of this machine, 32 hex digits; of this store where the machine has none."""
        return hashed(read_machine_id() or self._random("machine_id"))

    def secret_key(self) -> bytes:
        """32 random bytes that are this store's own and never leave it."""
        return self._random("secret_key")

    def _random(self, name: str) -> bytes:
        return self._database.value_or(name, os.urandom(_SECRET_BYTES))

    # Rows

    def row(self, key: str) -> Row | None:
        return rows.one_row(self._database, key)

    def rows(self) -> list[Row]:
        """All rows, the one whose use is longest ago first."""
        return rows.all_rows(self._database)

    def find(self, prefix: str) -> list[str]:
        """The keys that begin with these hex digits, sorted; those with only a log, too."""
        wanted = prefix.lower()
        if not wanted or wanted.strip("0123456789abcdef"):
            return []
        logged = [key for key in self._logs.logged() if key.startswith(wanted)]
        return sorted({*rows.find_rows(self._database, wanted), *logged})

    def use(self, keys: str | Iterable[str]) -> None:
        """These keys were hits: they are used now."""
        wanted = [keys] if isinstance(keys, str) else list(keys)
        if wanted:
            with self._database.transaction() as connection:
                rows.touch(connection, wanted)

    def announce(self, key: str, parent: str | None, record: Record) -> None:
        """Keep the record of a step that is about to be executed.

        If the process dies between the engine's commit and ``add``, ``reconcile`` finds in
        it what it needs to adopt the snapshot.
        """
        with self._database.transaction() as connection:
            records.write_record(connection, replace(record, key=key), parent)

    def add(self, key: str, parent: str | None, record: Record) -> None:
        """A snapshot was made: keep its row and record, count it at its parent.

        A row that is there already is only used now.
        """
        with self._database.transaction() as connection:
            rows.insert_row(connection, key, parent, rows.timestamp())
            changed = rows.attach(connection)
            rows.recount(connection, {key, *changed, *([parent] if parent else [])})
            records.write_record(connection, replace(record, key=key), parent)
            records.note_places(connection, record.spec, [(record.within, record.position, key)])

    def descendants(self, key: str) -> list[str]:
        """``key`` and all rows built on it, children before parents; only what has a row."""
        return rows.descendants(rows.read_links(self._database), key)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove rows and records. Logs stay. Children that stay lose their parent."""
        gone = list(keys)
        with self._database.transaction() as connection:
            rows.remove_rows(connection, gone)
            records.remove_records(connection, gone)

    def forget_all(self) -> None:
        """Remove all rows, records and logs; who the store is stays."""
        keys = {row.id for row in self.rows()} | {record.key for record in self.records()}
        self.forget(keys)
        for key in self._logs.logged():
            self._logs.remove(key)

    def reconcile(
        self, present: Mapping[str, bool], known: Collection[str] | None = None
    ) -> Reconciliation:
        """Make the database agree with the engine, which has the snapshots ``present``.

        The values tell whether a snapshot bears obuild's mark. ``known``: the keys that had
        rows *before* the engine was asked; others are not taken for missing, since a
        snapshot that another process finished in between is not in ``present``. Orphans in
        the answer must be removed from the engine by the caller, each under its lock.
        """
        return reconcile(self._database, present, self.alive, known)

    # Records

    def record(self, key: str) -> Record | None:
        return records.one_record(self._database, key)

    def records(self) -> Iterator[Record]:
        """All records, the oldest first."""
        return records.read_records(self._database)

    def set_settled(self, key: str) -> None:
        """The snapshot's configuration is its base's now."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE obuild_records SET settled = 1 WHERE key = ?", (key,))

    def note_places(self, spec: str, steps: Iterable[tuple[str, int, str]]) -> None:
        """The steps of ``spec``, as (within, position, key), were found at their places."""
        with self._database.transaction() as connection:
            records.note_places(connection, spec, steps)

    def last_at(self, spec: str, within: str, position: int) -> Record | None:
        """The record of the step that was last built or found at that place."""
        return records.last_at(self._database, spec, within, position)

    def records_on(self, parent: str | None, limit: int = 20) -> list[Record]:
        """Records of steps that stand directly on ``parent``, the newest first."""
        return records.records_on(self._database, parent, limit)

    # Locks

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

    # Digests

    def digests(self, root: str) -> Digests:
        """The digests of files in the build context ``root``; written back by ``close``."""
        # A run without copies from the context needs neither these nor what they import.
        from obuild.store.digests import Digests

        made = Digests(self._database, root)
        self._digests.append(made)
        return made
