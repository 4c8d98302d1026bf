"""The tables, as SQL.

``builds`` and ``lru`` are OBuilder's, letter for letter as it makes them (golden:
``store/``). ``rc`` counts the rows whose parent a row is; OBuilder prunes those with none.
"""

from __future__ import annotations

__all__ = ["SCHEMA", "STATEMENTS"]

SCHEMA = 1
"""The number of the schema of obuild's own tables. A change of them raises it."""

_BUILDS = """CREATE TABLE IF NOT EXISTS builds (
                       id       TEXT PRIMARY KEY,
                       created  DATETIME NOT NULL,
                       used     DATETIME NOT NULL,
                       rc       INTEGER NOT NULL,
                       parent   TEXT,
                       FOREIGN KEY (parent) REFERENCES builds (id) ON DELETE RESTRICT
                     )"""

_LRU = """CREATE INDEX IF NOT EXISTS lru
                     ON builds (rc, used) """

_VALUES = """CREATE TABLE IF NOT EXISTS obuild_values (
    name TEXT PRIMARY KEY, value NOT NULL
) WITHOUT ROWID"""

# Texts that may hold any bytes are blobs. The preimage may be megabytes: it comes last, so
# that whoever reads the others does not touch its pages.
_RECORDS = """CREATE TABLE IF NOT EXISTS obuild_records (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT, base TEXT,
    created TEXT NOT NULL, seconds REAL NOT NULL, settled INTEGER NOT NULL,
    spec BLOB NOT NULL, within BLOB NOT NULL, position INTEGER NOT NULL,
    title BLOB NOT NULL, executables BLOB NOT NULL, preimage BLOB NOT NULL
)"""

_SIBLINGS = "CREATE INDEX IF NOT EXISTS obuild_siblings ON obuild_records (parent, created)"

# Which key a place in a spec had when it was last built or found.
_PLACES = """CREATE TABLE IF NOT EXISTS obuild_places (
    spec BLOB NOT NULL, within BLOB NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (spec, within, position)
) WITHOUT ROWID"""

_PLACES_OF = "CREATE INDEX IF NOT EXISTS obuild_places_of ON obuild_places (key)"

# Rows whose parent has no row any more: their ``builds.parent`` is NULL, the link is kept here.
_DETACHED = """CREATE TABLE IF NOT EXISTS obuild_detached (
    id TEXT PRIMARY KEY, parent TEXT NOT NULL
) WITHOUT ROWID"""

_ROOTS = """CREATE TABLE IF NOT EXISTS obuild_roots (
    id INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, used TEXT NOT NULL
)"""

_DIGESTS = """CREATE TABLE IF NOT EXISTS obuild_digests (
    root INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (root, device, inode)
) WITHOUT ROWID"""

STATEMENTS = (
    _BUILDS,
    _LRU,
    _VALUES,
    _RECORDS,
    _SIBLINGS,
    _PLACES,
    _PLACES_OF,
    _DETACHED,
    _ROOTS,
    _DIGESTS,
)
