"""Digests of context files that were read before, by the status of the file.

The entries of a context's root are read in one go at the first question and written back in
one transaction. Losing them costs time only, so they are bounded without ceremony: many
entries that a run did not ask for are dropped, and so are roots that are long out of use.
The rule when a digest may be kept at all is the caller's (``obuild.context``).
"""

from __future__ import annotations

import sqlite3
from threading import Lock

from obuild.context.digests import StatKey
from obuild.source import encode
from obuild.store.database import Database
from obuild.store.rows import timestamp

__all__ = ["Digests"]

_File = tuple[int, int]
_State = tuple[int, int, int, bytes]

_UNUSED_KEPT = 50_000
_KEPT_AT_MOST = 1_000_000
_ROOTS_KEPT = 32


class Digests:
    """The digests of files below one root; an ``obuild.context.DigestCache``."""

    def __init__(self, database: Database, root: str):
        """``root`` names the build context: its real path."""
        self._database = database
        self._root = encode(root)
        self._lock = Lock()
        self._known: dict[_File, _State] | None = None
        self._new: dict[_File, _State] = {}
        self._asked: set[_File] = set()
        self._used_on = ""

    def lookup(self, stat: StatKey) -> str | None:
        """The digest of the file in that state, 64 hex digits. Raises ``StoreError``."""
        if self._known is None:
            self._load()
        assert self._known is not None
        file = (_signed(stat.device), _signed(stat.inode))
        state = self._known.get(file)
        if state is None or state[:3] != (stat.size, stat.mtime_ns, stat.ctime_ns):
            return None
        self._asked.add(file)
        return state[3].hex()

    def add(self, stat: StatKey, digest: str) -> None:
        """Keep the digest. It is in the database after ``flush``."""
        if self._known is None:
            self._load()
        assert self._known is not None
        if len(self._known) >= _KEPT_AT_MOST:
            return
        file = (_signed(stat.device), _signed(stat.inode))
        state = (stat.size, stat.mtime_ns, stat.ctime_ns, bytes.fromhex(digest))
        self._known[file] = self._new[file] = state
        self._asked.add(file)

    def flush(self) -> None:
        """Write what is new, drop what is too much. Raises ``StoreError``."""
        with self._lock:
            if self._known is None:
                return
            new, self._new = self._new, {}
            unused = self._known.keys() - self._asked
            if len(unused) <= max(_UNUSED_KEPT, 3 * len(self._asked)):
                unused = set()
            today = timestamp()[:10]
            # A run that learnt nothing writes at most once a day.
            if not new and not unused and today == self._used_on:
                return
            with self._database.transaction() as connection:
                self._write(connection, new, unused)
            self._used_on = today
            for file in unused:
                self._known.pop(file, None)

    close = flush

    def _load(self) -> None:
        with self._lock:
            if self._known is not None:
                return
            used = self._database.query(
                "SELECT id, used FROM obuild_roots WHERE root = ?", (self._root,)
            )
            rows = self._database.query(
                "SELECT device, inode, size, mtime, ctime, digest FROM obuild_digests"
                " WHERE root = ?",
                (used[0][0] if used else None,),
            )
            self._used_on = used[0][1][:10] if used else ""
            self._known = {
                (device, inode): (size, mtime, ctime, digest)
                for device, inode, size, mtime, ctime, digest in rows
            }

    def _write(
        self, connection: sqlite3.Connection, new: dict[_File, _State], unused: set[_File]
    ) -> None:
        connection.execute(
            "INSERT INTO obuild_roots (root, used) VALUES (?, ?)"
            " ON CONFLICT (root) DO UPDATE SET used = excluded.used",
            (self._root, timestamp()),
        )
        [(root,)] = connection.execute("SELECT id FROM obuild_roots WHERE root = ?", (self._root,))
        connection.executemany(
            "DELETE FROM obuild_digests WHERE root = ? AND device = ? AND inode = ?",
            [(root, *file) for file in unused],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO obuild_digests VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(root, *file, *state) for file, state in new.items()],
        )
        _drop_old_roots(connection)


def _drop_old_roots(connection: sqlite3.Connection) -> None:
    old = connection.execute(
        "SELECT id FROM obuild_roots ORDER BY used DESC, id DESC LIMIT -1 OFFSET ?", (_ROOTS_KEPT,)
    ).fetchall()
    connection.executemany("DELETE FROM obuild_digests WHERE root = ?", old)
    connection.executemany("DELETE FROM obuild_roots WHERE id = ?", old)


def _signed(number: int) -> int:
    """An unsigned 64 bit number as SQLite's signed one."""
    return number - (1 << 64) if number >= 1 << 63 else number
