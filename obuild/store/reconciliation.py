"""Making the database agree with what the engine really has. Bookkeeping only.

Neither side is right by itself. The rules:

- A row whose image is gone goes; its record stays and tells why. What was built on it stays:
  its own image is whole. Those rows are detached (see ``rows``).
- An image without a row that bears obuild's mark is complete (the mark is written last), so
  a row is made for it, with the parent that its record names, if there is one.
- An image without a row and without the mark may be half made: OBuilder can fail after it
  committed an image, and would then take it for a hit. It is an orphan, to be removed.
- OBuilder builds on such an image, too: a row without the mark whose parent has no row
  stands on it. It, and all that stands on it, is forgotten and its image removed.
- Whatever has its key locked is somebody's work in progress and is left alone.
- Counts of children are put right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping

from obuild.store.database import Database
from obuild.store.manifests import tidy_manifests
from obuild.store.records import (
    gone_keys,
    mark_gone,
    record_parents,
    remove_records,
    return_records,
)
from obuild.store.rows import (
    attach,
    descendants,
    insert_row,
    read_links,
    recount_all,
    remove_rows,
    timestamp,
)
from obuild.values import Value

__all__ = ["Reconciliation", "reconcile"]

_BEHIND = "the image was removed behind obuild's back, noticed"
_HALF_MADE = "it stood on an image that OBuilder may have left half made, noticed"
_UNFINISHED = "its last build did not end well, noticed"


class Reconciliation(Value):
    """What was put right.

    ``forgotten``: keys whose rows were removed. ``adopted``: keys that have a row now.
    ``orphans``: keys whose images the engine must remove, children before parents.
    """

    forgotten: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


def reconcile(
    database: Database,
    present: Mapping[str, bool],
    alive: Callable[[str], bool],
    known: Collection[str] | None,
) -> Reconciliation:
    """See ``Store.reconcile``. Raises ``StoreError``."""
    with database.transaction() as connection:
        rows: dict[str, str | None] = dict(
            connection.execute("SELECT id, parent FROM builds").fetchall()
        )
        rowless = {key: mark for key, mark in present.items() if key not in rows and not alive(key)}
        adopted = sorted(key for key, mark in rowless.items() if mark)
        half_made = sorted(key for key, mark in rowless.items() if not mark)
        judged = rows if known is None else rows.keys() & set(known)
        doubtful = _doubtful(database, rows, present, adopted, alive)
        missing = [key for key in judged if key not in present and not alive(key)]
        gone = dict.fromkeys([*doubtful, *missing])
        parents, ended = record_parents(database), gone_keys(database)
        if gone:
            remove_rows(connection, gone)
            mark_gone(connection, doubtful, _HALF_MADE)
            mark_gone(connection, gone, _BEHIND)
        _adopt(connection, adopted, parents)
        recount_all(connection)
        never = [key for key in parents if not (key in rows or key in ended or alive(key))]
        _tidy(connection, never)
    orphans = [key for key in doubtful if key in present] + half_made
    return Reconciliation(tuple(gone), tuple(adopted), tuple(orphans))


def _doubtful(
    database: Database,
    rows: Mapping[str, str | None],
    present: Mapping[str, bool],
    adopted: Collection[str],
    alive: Callable[[str], bool],
) -> list[str]:
    """Rows that stand on an image which OBuilder may have left half made; children first."""
    roots = [
        key
        for key, parent in rows.items()
        if not (parent is None or parent in rows or parent in adopted)
        and not present.get(key, False)
        and not alive(key)
    ]
    links = read_links(database) if roots else {}
    found: dict[str, None] = {}
    for key in roots:
        found.update(dict.fromkeys(descendants(links, key)))
    return list(found)


def _adopt(
    connection: sqlite3.Connection, adopted: Collection[str], parents: Mapping[str, str | None]
) -> None:
    now = timestamp()
    return_records(connection, adopted)
    for key in adopted:
        insert_row(connection, key, parents.get(key), now)
    # OBuilder's own rows may still name a parent that has none, where the child is marked.
    dangling = connection.execute(
        "SELECT id, parent FROM builds WHERE parent IS NOT NULL"
        " AND parent NOT IN (SELECT id FROM builds)"
    ).fetchall()
    connection.executemany("INSERT OR REPLACE INTO obuild_detached VALUES (?, ?)", dangling)
    connection.executemany(
        "UPDATE builds SET parent = NULL WHERE id = ?", [(child,) for child, _ in dangling]
    )
    attach(connection)


def _tidy(connection: sqlite3.Connection, rowless: Collection[str]) -> None:
    """Drop what is kept of rows that are gone, and records of steps that never came to a row.

    Of these, the record stays if the step was built before: it tells what it was then.
    """
    known = {key for (key,) in connection.execute("SELECT id FROM builds")}
    built = {key for (key,) in connection.execute("SELECT DISTINCT key FROM obuild_places")}
    ended = [key for key in rowless if key not in known]
    mark_gone(connection, [key for key in ended if key in built], _UNFINISHED)
    remove_records(connection, [key for key in ended if key not in built])
    tidy_manifests(connection)
    connection.execute("DELETE FROM obuild_detached WHERE id NOT IN (SELECT id FROM builds)")
