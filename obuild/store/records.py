"""What obuild knows of a step beyond OBuilder's row: what ran, what was hashed, where it stood.

Texts may hold any bytes (surrogates stand for what is not UTF-8), so they are kept as blobs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from obuild.source import decode, encode
from obuild.store.database import Database, Values
from obuild.values import Value, names

__all__ = [
    "Record",
    "last_at",
    "note_places",
    "one_record",
    "read_records",
    "record_parents",
    "records_on",
    "remove_records",
    "write_record",
]


class Record(Value):
    """A step that obuild built, for ``log``, ``ls`` and ``explain``.

    ``kind`` is base, run, copy or seal. ``preimage`` is what was hashed, a secret's value
    replaced by the caller. ``spec`` is the path of the build script, ``within`` the names
    of the nested builds around the step, joined by ``/``, ``position`` its place in that
    stage. ``created`` is UTC, ``YYYY-MM-DD HH:MM:SS``; ``seconds`` how long it took.
    ``settled``: the snapshot's configuration is its base's. ``executables``: the paths of a
    copy's files that have an x bit. ``base``: the key of the base image's snapshot.
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


_NAMES = ", ".join(names(Record))
_SELECT = f"SELECT {_NAMES} FROM obuild_records"
_AT_ONCE = 64


def one_record(database: Database, key: str) -> Record | None:
    found = database.query(f"{_SELECT} WHERE key = ?", (key,))
    return _record(found[0]) if found else None


def read_records(database: Database) -> Iterator[Record]:
    """All records, the oldest first; few in memory at a time, as preimages are long."""
    keys = database.query("SELECT key FROM obuild_records ORDER BY created, rowid")
    for start in range(0, len(keys), _AT_ONCE):
        for (key,) in keys[start : start + _AT_ONCE]:
            found = one_record(database, key)
            if found is not None:
                yield found


def records_on(database: Database, parent: str | None, limit: int) -> list[Record]:
    """Records of steps that stand directly on ``parent``, the newest first."""
    found = database.query(
        f"{_SELECT} WHERE parent IS ? ORDER BY created DESC, rowid DESC LIMIT ?", (parent, limit)
    )
    return [_record(values) for values in found]


def record_parents(database: Database) -> dict[str, str | None]:
    """The parent of every step that has a record, also of those without a row."""
    return dict(database.query("SELECT key, parent FROM obuild_records"))


def write_record(connection: sqlite3.Connection, record: Record, parent: str | None) -> None:
    """Keep ``record`` in place of an older one of its key."""
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
            record.created,
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
    """The record of the step that was last built or found at that place of ``spec``."""
    found = database.query(
        f"{_SELECT} WHERE key = (SELECT key FROM obuild_places"
        " WHERE spec = ? AND within = ? AND position = ?)",
        (encode(spec), encode(within), position),
    )
    return _record(found[0]) if found else None


def _record(values: Values) -> Record:
    key, kind, title, preimage, spec, within, position, created, seconds, *rest = values
    settled, executables, base = rest
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
    )
