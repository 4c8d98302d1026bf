"""What copies learnt of a snapshot's files, so that a cached build need not look again.

An answer holds for one snapshot: it goes with the snapshot's row, and is not given once the
row is another, since OBuilder may have built the key anew meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from obuild.source import decode, encode
from obuild.store.database import Database

__all__ = ["drop_manifests", "keep_manifests", "read_manifests", "tidy_manifests"]

_KEPT = 16
"""Answers that are kept of one snapshot at most."""


def read_manifests(database: Database, key: str, question: str) -> str | None:
    """The answer to ``question`` that was kept for the snapshot as it is now."""
    found = database.query(
        "SELECT m.text FROM obuild_manifests m JOIN builds b ON b.id = m.key"
        " WHERE m.key = ? AND m.question = ? AND m.created = b.created",
        (key, encode(question)),
    )
    return decode(found[0][0]) if found else None


def keep_manifests(connection: sqlite3.Connection, key: str, question: str, text: str) -> None:
    """Keep an answer about a snapshot that has a row; of one that has none, nothing is kept."""
    connection.execute(
        "INSERT OR REPLACE INTO obuild_manifests (key, created, question, text)"
        " SELECT id, created, ?, ? FROM builds WHERE id = ?",
        (encode(question), encode(text), key),
    )
    connection.execute(
        "DELETE FROM obuild_manifests WHERE number IN (SELECT number FROM obuild_manifests"
        " WHERE key = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (key, _KEPT),
    )


def drop_manifests(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    connection.executemany("DELETE FROM obuild_manifests WHERE key = ?", [(key,) for key in keys])


def tidy_manifests(connection: sqlite3.Connection) -> None:
    """Drop what is kept of snapshots that have no row any more."""
    connection.execute("DELETE FROM obuild_manifests WHERE key NOT IN (SELECT id FROM builds)")
