"""What obuild knows of a step beyond OBuilder's row: what ran, what was hashed, where it stood.

The record of a snapshot that is gone is kept for a while, with the reason, so that the next
build of that step can be told why it is not stored any more, and what has changed since.

Texts may hold any bytes (surrogates stand for what is not UTF-8), so they are kept as blobs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from obuild.source import decode, encode
from obuild.store.database import Database, Values
from obuild.store.rows import timestamp
from obuild.values import Value, names

__all__ = [
    "TABLES",
    "Placed",
    "Record",
    "any_record",
    "gone_keys",
    "last_at",
    "mark_gone",
    "note_places",
    "one_record",
    "placed",
    "read_records",
    "record_parents",
    "records_on",
    "remove_records",
    "return_records",
    "write_record",
]

TABLES = ("obuild_records", "obuild_places", "obuild_gone")
"""The tables that this module writes."""

_GONE_KEPT = 2000
_GONE_BYTES = 64 << 20
"""Records of gone snapshots that are kept at most, and bytes of their preimages."""


class Record(Value):
    """A step that obuild built, for ``log``, ``ls`` and ``explain``.

    ``kind`` is base, run, copy or seal. ``preimage`` is what was hashed, a secret's value
    replaced by the caller. ``spec`` is the path of the build script, ``within`` the names
    of the nested builds around the step, joined by ``/``, ``position`` its place in that
    stage. ``created`` is UTC, ``YYYY-MM-DD HH:MM:SS``; ``seconds`` how long it took.
    ``settled``: the snapshot's configuration is its base's. ``executables``: the paths of a
    copy's files that have an x bit. ``base``: the key of the base image's snapshot.
    ``gone``: empty as long as the snapshot is stored, else why and when it went, as
    ``prune on 2026-01-02 03:04:05``.
    """

    key: str
    kind: str
    title: str
    preimage: str
    spec: str
    within: str
    position: int
    created: str
    seconds: float
    settled: bool
    executables: tuple[str, ...]
    base: str | None
    gone: str = ""


_NAMES = ", ".join(names(Record)[:-1])
_SELECT = (
    f"SELECT {', '.join('r.' + name for name in names(Record)[:-1])}, coalesce(g.gone, '')"
    " FROM obuild_records r LEFT JOIN obuild_gone g ON g.key = r.key"
)
_AT_ONCE = 64


def one_record(database: Database, key: str) -> Record | None:
    """The record of what is stored."""
    found = database.query(f"{_SELECT} WHERE r.key = ? AND g.key IS NULL", (key,))
    return _record(found[0]) if found else None


def any_record(database: Database, key: str) -> Record | None:
    """The record of a step, also of one that is gone or was never finished."""
    found = database.query(f"{_SELECT} WHERE r.key = ?", (key,))
    return _record(found[0]) if found else None


def read_records(database: Database) -> Iterator[Record]:
    """All records of what is stored, the oldest first; few in memory at a time, as preimages
    are long."""
    keys = database.query(
        "SELECT key FROM obuild_records WHERE key NOT IN (SELECT key FROM obuild_gone)"
        " ORDER BY created, rowid"
    )
    for start in range(0, len(keys), _AT_ONCE):
        for (key,) in keys[start : start + _AT_ONCE]:
            found = one_record(database, key)
            if found is not None:
                yield found


def records_on(database: Database, parent: str | None, limit: int) -> list[Record]:
    """Records of steps that stand or stood directly on ``parent``, the newest first."""
    found = database.query(
        f"{_SELECT} WHERE r.parent IS ? ORDER BY r.created DESC, r.rowid DESC LIMIT ?",
        (parent, limit),
    )
    return [_record(values) for values in found]


def record_parents(database: Database) -> dict[str, str | None]:
    """The parent of every step that has a record, also of those without a row."""
    return dict(database.query("SELECT key, parent FROM obuild_records"))


def write_record(connection: sqlite3.Connection, record: Record, parent: str | None) -> None:
    """Keep ``record`` in place of an older one of its key; it is not gone.

    Without a time of its own it is of now.
    """
    connection.execute("DELETE FROM obuild_gone WHERE key = ?", (record.key,))
    connection.execute(
        f"INSERT OR REPLACE INTO obuild_records ({_NAMES}, parent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.key,
            record.kind,
            encode(record.title),
            encode(record.preimage),
            encode(record.spec),
            encode(record.within),
            record.position,
            record.created or timestamp(),
            record.seconds,
            record.settled,
            encode("\0".join(record.executables)),
            record.base,
            parent,
        ),
    )


def remove_records(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    each = [(key,) for key in keys]
    connection.executemany("DELETE FROM obuild_records WHERE key = ?", each)
    connection.executemany("DELETE FROM obuild_places WHERE key = ?", each)
    connection.executemany("DELETE FROM obuild_gone WHERE key = ?", each)


def mark_gone(connection: sqlite3.Connection, keys: Iterable[str], why: str) -> None:
    """The snapshots of these keys are gone for the reason ``why``; their records stay, but
    only so many of them. Those that were gone before keep the reason that they have."""
    connection.executemany(
        "INSERT OR IGNORE INTO obuild_gone (key, gone) SELECT key, ? FROM obuild_records"
        " WHERE key = ?",
        [(f"{why} on {timestamp()}", key) for key in keys],
    )
    dropped, size = [], 0
    found = connection.execute(
        "SELECT g.key, length(r.preimage) FROM obuild_gone g"
        " JOIN obuild_records r ON r.key = g.key ORDER BY g.number DESC"
    )
    for number, (key, length) in enumerate(found.fetchall(), 1):
        size += length
        if number > _GONE_KEPT or size > _GONE_BYTES:
            dropped.append(key)
    remove_records(connection, dropped)


def return_records(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """The snapshots of these keys are there after all."""
    connection.executemany("DELETE FROM obuild_gone WHERE key = ?", [(key,) for key in keys])


def gone_keys(database: Database) -> set[str]:
    return {key for (key,) in database.query("SELECT key FROM obuild_gone")}


def note_places(
    connection: sqlite3.Connection, spec: str, steps: Iterable[tuple[str, int, str]]
) -> None:
    """The steps of ``spec``, as (within, position, key), are the last seen at their places."""
    connection.executemany(
        "INSERT INTO obuild_places (spec, within, position, key) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (spec, within, position) DO UPDATE SET key = excluded.key"
        " WHERE key != excluded.key",
        [(encode(spec), encode(within), position, key) for within, position, key in steps],
    )


def last_at(database: Database, spec: str, within: str, position: int) -> Record | None:
    """The record of the step that was last built or found at that place of ``spec``, whether
    or not it is still stored."""
    found = database.query(
        f"{_SELECT} WHERE r.key = (SELECT key FROM obuild_places"
        " WHERE spec = ? AND within = ? AND position = ?)",
        (encode(spec), encode(within), position),
    )
    return _record(found[0]) if found else None


class Placed(Value):
    """What stood at a place of a stage, without the long parts of its record."""

    position: int
    key: str
    kind: str
    title: str


def placed(database: Database, spec: str, within: str) -> list[Placed]:
    """The steps that were last built or found in a stage of ``spec``, by their positions."""
    found = database.query(
        "SELECT p.position, r.key, r.kind, r.title FROM obuild_places p"
        " JOIN obuild_records r ON r.key = p.key"
        " WHERE p.spec = ? AND p.within = ? ORDER BY p.position",
        (encode(spec), encode(within)),
    )
    return [Placed(position, key, kind, decode(title)) for position, key, kind, title in found]


def _record(values: Values) -> Record:
    key, kind, title, preimage, spec, within, position, created, seconds, *rest = values
    settled, executables, base, gone = rest
    return Record(
        key=key,
        kind=kind,
        title=decode(title),
        preimage=decode(preimage),
        spec=decode(spec),
        within=decode(within),
        position=position,
        created=created,
        seconds=seconds,
        settled=bool(settled),
        executables=tuple(decode(executables).split("\0")) if executables else (),
        base=base,
        gone=gone,
    )
