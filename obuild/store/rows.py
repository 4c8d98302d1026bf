"""The table ``builds``, as OBuilder keeps it: what is stored, when it was used, on what it stands.

``rc`` is counted anew for every row that a change touches, so a count that went astray in
OBuilder (which starts a row that it writes again at 0) becomes right.

A row never names a parent that has no row: OBuilder's table declares ``parent`` a foreign
key, and OBuilder's ``delete`` would not find such a row. When a parent's row goes and a
child's stays (its image is whole without the parent's), the child's ``parent`` becomes NULL
and the link moves to ``obuild_detached``; when the parent's row is made again, it moves back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping

from obuild.store.database import Database
from obuild.values import Value

__all__ = [
    "Row",
    "all_rows",
    "attach",
    "descendants",
    "detach_children",
    "find_rows",
    "insert_row",
    "link",
    "one_row",
    "read_links",
    "recount",
    "recount_all",
    "remove_rows",
    "timestamp",
    "touch",
]

_COLUMNS = "SELECT id, created, used, rc, parent FROM builds"
_AT_ONCE = 500
"""Parameters in one statement; SQLite allowed 999 for long."""


class Row(Value):
    """A stored step. ``created`` and ``used`` are UTC, ``YYYY-MM-DD HH:MM:SS``."""

    id: str
    created: str
    used: str
    rc: int
    parent: str | None


def timestamp() -> str:
    """Now, as the store writes times: UTC, ``YYYY-MM-DD HH:MM:SS``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())


def one_row(database: Database, key: str) -> Row | None:
    found = database.query(f"{_COLUMNS} WHERE id = ?", (key,))
    return Row(*found[0]) if found else None


def all_rows(database: Database) -> list[Row]:
    """All rows, the one whose use is longest ago first."""
    return [Row(*values) for values in database.query(f"{_COLUMNS} ORDER BY used, created, rowid")]


def find_rows(database: Database, prefix: str) -> list[str]:
    found = database.query(
        "SELECT id FROM builds WHERE id >= ? AND id < ? ORDER BY id", (prefix, prefix + "g")
    )
    return [key for (key,) in found]


def touch(connection: sqlite3.Connection, keys: Iterable[str], now: str) -> list[str]:
    """These rows are used ``now``; the keys that have no row."""
    return [
        key
        for key in keys
        if not connection.execute("UPDATE builds SET used = ? WHERE id = ?", (now, key)).rowcount
    ]


def link(connection: sqlite3.Connection, parents: Mapping[str, str]) -> None:
    """Give rows that know no parent theirs. ``parents``: a key to that of its parent."""
    alone = {
        key
        for (key,) in connection.execute(
            "SELECT id FROM builds WHERE parent IS NULL"
            " AND id NOT IN (SELECT id FROM obuild_detached)"
        )
    }
    found = [(key, parent) for key, parent in parents.items() if key in alone]
    if found:
        connection.executemany("INSERT INTO obuild_detached VALUES (?, ?)", found)
        recount(connection, attach(connection))


def insert_row(connection: sqlite3.Connection, key: str, parent: str | None, now: str) -> None:
    """A row for ``key``; if there is one, its ``used`` and a missing parent are set.

    Whoever calls it calls ``attach`` and ``recount`` next.
    """
    connection.execute(
        "INSERT INTO builds (id, created, used, rc, parent) VALUES (?, ?, ?, 0, NULL)"
        " ON CONFLICT (id) DO UPDATE SET used = excluded.used",
        (key, now, now),
    )
    if parent is not None:
        connection.execute(
            "INSERT OR REPLACE INTO obuild_detached (id, parent)"
            " SELECT id, ? FROM builds WHERE id = ? AND parent IS NULL",
            (parent, key),
        )


def attach(connection: sqlite3.Connection) -> set[str]:
    """Give detached rows their parents back where these have rows; the parents' keys."""
    found = connection.execute(
        "SELECT d.id, d.parent FROM obuild_detached d JOIN builds p ON p.id = d.parent"
    ).fetchall()
    connection.executemany(
        "UPDATE builds SET parent = ? WHERE id = ? AND parent IS NULL",
        [(parent, child) for child, parent in found],
    )
    connection.executemany("DELETE FROM obuild_detached WHERE id = ?", [(c,) for c, _ in found])
    return {parent for _, parent in found}


def recount(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Set ``rc`` of these rows to the number of their children."""
    wanted = list(set(keys))
    counts: dict[str, int] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        marks = ",".join("?" * len(some))
        counts.update(
            connection.execute(
                f"SELECT parent, count(*) FROM builds WHERE parent IN ({marks}) GROUP BY parent",
                some,
            )
        )
    connection.executemany(
        "UPDATE builds SET rc = ? WHERE id = ?",
        [(counts.get(key, 0), key) for key in wanted],
    )


def recount_all(connection: sqlite3.Connection) -> None:
    """Set the ``rc`` of every row that has a wrong one."""
    counts: dict[str, int] = dict(
        connection.execute("SELECT parent, count(*) FROM builds GROUP BY parent").fetchall()
    )
    wrong = [
        (counts.get(key, 0), key)
        for key, rc in connection.execute("SELECT id, rc FROM builds").fetchall()
        if rc != counts.get(key, 0)
    ]
    connection.executemany("UPDATE builds SET rc = ? WHERE id = ?", wrong)


def read_links(database: Database) -> dict[str, str | None]:
    """Every row's parent; of a detached row the parent that it had."""
    return dict(
        database.query(
            "SELECT b.id, coalesce(b.parent, d.parent) FROM builds b"
            " LEFT JOIN obuild_detached d ON d.id = b.id ORDER BY b.rowid"
        )
    )


def detach_children(connection: sqlite3.Connection, gone: set[str]) -> None:
    """Cut the rows off whose parent is in ``gone``, and remember the links."""
    cut = [
        (child, parent)
        for child, parent in connection.execute(
            "SELECT id, parent FROM builds WHERE parent IS NOT NULL"
        ).fetchall()
        if parent in gone
    ]
    connection.executemany("INSERT OR REPLACE INTO obuild_detached VALUES (?, ?)", cut)
    connection.executemany("UPDATE builds SET parent = NULL WHERE id = ?", [(c,) for c, _ in cut])


def remove_rows(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Remove rows; children that stay are detached, parents that stay are counted."""
    gone = set(keys)
    each = [(key,) for key in gone]
    parents: set[str] = set()
    for value in each:
        parents.update(
            parent
            for (parent,) in connection.execute("SELECT parent FROM builds WHERE id = ?", value)
            if parent is not None
        )
    connection.executemany("DELETE FROM builds WHERE id = ?", each)
    connection.executemany("DELETE FROM obuild_detached WHERE id = ?", each)
    detach_children(connection, gone)
    recount(connection, parents - gone)


def descendants(links: Mapping[str, str | None], key: str) -> list[str]:
    """``key`` (if it has a row) and all that was built on it, children before parents.

    In the order in which OBuilder deletes them, if ``links`` stand in the table's order.
    ``links``: every row's parent, those of detached rows included.
    """
    children: dict[str, list[str]] = {}
    for child, parent in links.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)
    order: list[str] = []
    seen: set[str] = set()
    waiting = [key]
    while waiting:
        found = waiting.pop()
        if found not in seen:
            seen.add(found)
            order.append(found)
            waiting.extend(children.get(found, ()))
    return [found for found in reversed(order) if found in links]
