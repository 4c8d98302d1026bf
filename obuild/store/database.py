"""The database file: one connection, its transactions, its schema, its few single values.

All threads of a process share one connection under one lock: transactions here take
microseconds, and SQLite lets one writer in at a time anyway. Other processes are kept apart
by SQLite itself; who finds it locked waits up to ``timeout`` seconds.

Who opens a database looks at all of it as long as that takes a few milliseconds, else at the
tables without which nothing goes. Damage that is met later is noted in a file beside it, and
the next to open it looks at all of it, however long it takes.

The tables of OBuilder are made with OBuilder's own text, and its pragmas are left alone (no
``user_version``, no ``application_id``): both programs can use the file, in turn. The number
of obuild's schema stands in a table of its own.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

from obuild.errors import StoreError
from obuild.store.failures import DamagedDatabase, damaged, store_errors
from obuild.store.schema import PROBES, SCHEMA, STATEMENTS

__all__ = ["Database", "Values"]

Values = tuple[Any, ...]
"""A row as SQLite gives it."""

_SMALL = 4 << 20
"""Bytes of a database that is checked whole whenever it is opened: some 3 ms."""

_NOTED = ".damaged"


class Database:
    """An open database. ``path`` is the store's directory, for messages."""

    def __init__(self, file: str, path: str, *, timeout: float = 30.0, untouched: bool = False):
        """Opens ``file``, makes what is missing in it. Raises ``StoreError``.

        ``untouched``: a damaged one is left with its side files as they are.
        """
        self.path = path
        self._file = file
        self._lock = RLock()
        self._timeout = timeout
        with store_errors(path):
            self._identity = self._identify()
            self._connection = sqlite3.connect(
                file, timeout=timeout, isolation_level=None, check_same_thread=False
            )
        try:
            with store_errors(path):
                self._prepare()
        except BaseException as error:
            if untouched and isinstance(error, DamagedDatabase):
                self._abandon()
            else:
                self.close()
            raise

    def _identify(self) -> tuple[int, int] | None:
        """Which file stands under the database's name now."""
        try:
            found = os.stat(self._file)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _prepare(self) -> None:
        self._write_ahead()
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._check()
        found = self._schema()
        if found is None or (isinstance(found, int) and found < SCHEMA):
            with self.transaction():
                for statement in STATEMENTS:
                    self._connection.execute(statement)
                self._connection.execute(
                    "INSERT INTO obuild_values VALUES ('schema', ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                    (SCHEMA,),
                )
            found = self._schema()
        if not isinstance(found, int):
            raise damaged(self.path, f"the number of its schema is {found!r}")
        if found > SCHEMA:
            raise StoreError(
                f"the store {self.path} has schema {found}, "
                f"which is newer than this obuild knows ({SCHEMA})",
                hint="Use the newer obuild that made it, or give another --store.",
            )
        for probe in PROBES:
            self._connection.execute(probe)

    def _check(self) -> None:
        """Look for damage (https://www.sqlite.org/pragma.html#pragma_quick_check)."""
        noted = self._file + _NOTED
        suspected = os.path.exists(noted)
        if suspected:
            checks = ["integrity_check(1)"]
        elif os.path.getsize(self._file) <= _SMALL:
            checks = ["quick_check(1)"]
        else:
            checks = ["quick_check('builds')", "quick_check('obuild_values')"]
        for check in checks:
            try:
                [(answer,), *_] = self._connection.execute(f"PRAGMA {check}").fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                continue  # a database that is new to obuild
            if answer != "ok":
                raise damaged(self.path, " ".join(str(answer).split()))
        if suspected:
            os.unlink(noted)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Damage that is met on the way is noted for whoever opens the database next."""
        try:
            with store_errors(self.path):
                yield
        except DamagedDatabase:
            with suppress(OSError):
                os.close(os.open(self._file + _NOTED, os.O_CREAT | os.O_WRONLY, 0o600))
            raise

    def _schema(self) -> object:
        known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'obuild_values'"
        if not self.query(known):
            return None
        rows = self.query("SELECT value FROM obuild_values WHERE name = 'schema'")
        return rows[0][0] if rows else "missing"

    def _write_ahead(self) -> None:
        """Turn write-ahead logging on; it is a property of the file and stays on."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                # The answer of a plain question is enough, and takes no lock.
                if self._connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                    self._connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # Two that turn it on at once: SQLite fails one of them without waiting.
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Values]:
        """All rows that ``sql`` gives. Raises ``StoreError``."""
        with self._lock, self._guarded():
            return self._connection.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it or nothing. Raises ``StoreError``."""
        with self._lock, self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def value(self, name: str) -> Any:
        """The single value of that name, None if it was never set."""
        rows = self.query("SELECT value FROM obuild_values WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def set_value(self, name: str, value: str | bytes | int) -> None:
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO obuild_values VALUES (?, ?)", (name, value))

    def value_or(self, name: str, new: bytes) -> bytes:
        """The value of that name, which is ``new`` from now on if there was none."""
        found = self.value(name)
        if found is None:
            with self.transaction() as connection:
                connection.execute("INSERT OR IGNORE INTO obuild_values VALUES (?, ?)", (name, new))
            found = self.value(name)
        if not isinstance(found, bytes):
            raise damaged(self.path, f"the value {name} is not of its kind")
        return found

    def close(self) -> None:
        """Let go of the file, if it is still the one of its name.

        Else another database may have the name by now, and SQLite, which removes the
        write-ahead file by its name when a database is closed, would remove that one's
        (https://www.sqlite.org/howtocorrupt.html, "unlinking or renaming"). So the
        connection stays open until the process ends.
        """
        with self._lock, store_errors(self.path):
            if self._identify() == self._identity:
                self._connection.close()
            else:
                self._abandon()

    def _abandon(self) -> None:
        """Leave the connection as it is, with no end before the process's."""
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
