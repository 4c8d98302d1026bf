"""What the database of a store tells: who the store is, its rows, its records."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from obuild.store import manifests, records, rows
from obuild.store.database import Database
from obuild.store.identity import hashed, host_name, prefix_of, read_machine_id
from obuild.store.locks import Locks
from obuild.store.reconciliation import Reconciliation, reconcile
from obuild.store.records import Placed, Record
from obuild.store.rows import Row
from obuild.values import replace

if TYPE_CHECKING:
    from obuild.store.holds import Holds

__all__ = ["Index"]

_SECRET_BYTES = 32


class Index:
    """The part of a ``Store`` that is in its database; ``path`` is the store's real path."""

    def __init__(self, path: str, database: Database, locks: Locks):
        self.path = path
        self._database = database
        self._locks = locks
        self._since = ""

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
        """An id of this machine, 32 hex digits.

        A machine that has none is known by the name that it had when the store was made.
        """
        found = read_machine_id()
        return hashed(found or self._database.value_or("machine_id", host_name()))

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

    def find_rows(self, prefix: str) -> list[str]:
        """The keys of rows that begin with these hex digits, in lower case, sorted."""
        return rows.find_rows(self._database, prefix)

    def use(self, keys: str | Iterable[str], parents: Mapping[str, str] | None = None) -> list[str]:
        """These keys were hits: they are used now. Returns those that have no row (any more).

        ``parents``: what is known of what they stand on; rows that were adopted without
        their parents get them by it.
        """
        wanted = [keys] if isinstance(keys, str) else list(keys)
        if not wanted:
            return []
        with self._database.transaction() as connection:
            if parents:
                rows.link(connection, parents)
            return rows.touch(connection, wanted, self._now())

    def _now(self) -> str:
        """Never before the visit, whatever becomes of the clock: see ``holds``."""
        return max(rows.timestamp(), self._since)

    def announce(self, key: str, parent: str | None, record: Record) -> None:
        """Keep the record of a step that is about to be executed.

        If the process dies between the engine's commit and ``add``, ``reconcile`` finds in
        it what it needs to adopt the snapshot.
        """
        with self._database.transaction() as connection:
            records.write_record(connection, replace(record, key=key), parent)
            manifests.drop_manifests(connection, [key])

    def add(self, key: str, parent: str | None, record: Record) -> None:
        """A snapshot was made: keep its row and record, count it at its parent.

        A row that is there already is only used now.
        """
        with self._database.transaction() as connection:
            rows.insert_row(connection, key, parent, self._now())
            changed = rows.attach(connection)
            rows.recount(connection, {key, *changed, *([parent] if parent else [])})
            records.write_record(connection, replace(record, key=key), parent)
            records.note_places(connection, record.spec, [(record.within, record.position, key)])
            manifests.drop_manifests(connection, [key])

    def links(self) -> dict[str, str | None]:
        """Every row's parent; of one whose parent has no row the key that the parent had."""
        return rows.read_links(self._database)

    def descendants(self, key: str) -> list[str]:
        """``key`` and all rows built on it, children before parents; only what has a row."""
        return rows.descendants(rows.read_links(self._database), key)

    def forget(self, keys: Iterable[str], why: str = "removed") -> None:
        """Remove rows. Logs stay. Children that stay lose their parent.

        ``why`` tells in the records, which stay for a while, what became of the snapshots:
        ``prune``, ``delete``; the time is added to it.
        """
        gone = list(keys)
        with self._database.transaction() as connection:
            self._remove(connection, gone, why)

    def _remove(self, connection: sqlite3.Connection, keys: list[str], why: str) -> None:
        rows.remove_rows(connection, keys)
        records.mark_gone(connection, keys, why)
        manifests.drop_manifests(connection, keys)

    def evict(self, key: str, why: str) -> str:
        """Remove the row of ``key`` unless something stands on it; why it stays, else empty.

        The caller holds the lock of ``key`` and removes the snapshot next.
        """
        with self._database.transaction() as connection:
            found = rows.one_row(self._database, key)
            if found is None:
                return "it is gone already"
            [(children,)] = connection.execute(
                "SELECT count(*) FROM builds WHERE parent = ?", (key,)
            )
            if children:
                return "something was built on it meanwhile"
            from obuild.store.holds import Holds  # only what removes needs it

            stays = Holds(connection, self._locks, own=key).reason(key, found.used)
            if not stays:
                self._remove(connection, [key], why)
            return stays

    def put_back(self, row: Row, parent: str | None) -> None:
        """The row that was evicted is there again: the engine would not remove the snapshot."""
        with self._database.transaction() as connection:
            rows.insert_row(connection, row.id, parent, row.created)
            rows.touch(connection, [row.id], row.used)
            rows.recount(connection, {row.id, *rows.attach(connection)})
            records.return_records(connection, [row.id])

    def holds(self) -> Holds:
        """What is in use by running builds now."""
        from obuild.store.holds import Holds

        with self._database.transaction() as connection:
            return Holds(connection, self._locks)

    def forget_all(self) -> None:
        """Remove all rows and records; who the store is stays."""
        with self._database.transaction() as connection:
            for table in (*records.TABLES, "obuild_manifests", "obuild_detached", "builds"):
                connection.execute(f"DELETE FROM {table}")

    def reconcile(
        self, present: Mapping[str, bool], known: Collection[str] | None = None
    ) -> Reconciliation:
        """Make the database agree with the engine, which has the snapshots ``present``.

        The values tell whether a snapshot bears obuild's mark. ``known``: the keys that had
        rows *before* the engine was asked; others are not taken for missing, since a
        snapshot that another process finished in between is not in ``present``. Orphans in
        the answer must be removed from the engine by the caller, each under its lock.
        """
        return reconcile(self._database, present, self._locks.held, known)

    # Records

    def record(self, key: str) -> Record | None:
        """The record of a step that is stored, or in work."""
        return records.one_record(self._database, key)

    def records(self) -> Iterator[Record]:
        """All records of steps that are stored, the oldest first."""
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
        """The record of the step that was last built or found at that place, also if its
        snapshot is gone."""
        return records.last_at(self._database, spec, within, position)

    def any_record(self, key: str) -> Record | None:
        """The record of a step, also if its snapshot is gone, or was never finished."""
        return records.any_record(self._database, key)

    def placed(self, spec: str, within: str) -> list[Placed]:
        """The steps that were last built or found in a stage of ``spec``, by position, gone
        or not."""
        return records.placed(self._database, spec, within)

    def records_on(self, parent: str | None, limit: int = 20) -> list[Record]:
        """Records of steps that stand or stood directly on ``parent``, the newest first."""
        return records.records_on(self._database, parent, limit)

    def manifests(self, key: str, question: str) -> str | None:
        """The manifests that were kept of the snapshot ``key`` as it is now, under the
        ``question`` that was asked of it; None if it was not asked yet."""
        return manifests.read_manifests(self._database, key, question)

    def keep_manifests(self, key: str, question: str, text: str) -> None:
        """Keep ``text`` until the snapshot ``key`` goes or is made anew."""
        with self._database.transaction() as connection:
            manifests.keep_manifests(connection, key, question, text)
