"""The tables, as SQL.

``builds`` and ``lru`` are OBuilder's, letter for letter as it makes them (golden:
``store/``). ``rc`` counts the rows whose parent a row is; OBuilder prunes those with none.
"""

from __future__ import annotations

__all__ = ["PROBES", "SCHEMA", "STATEMENTS"]

SCHEMA = 2
"""The number of the schema of obuild's own tables. A change of them raises it.

1: records go with their rows. 2: what is gone, and manifests, are kept, in tables of their
own; a database of schema 1 only lacks these.
"""

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

# Records of which the snapshot is gone: why and when it went. The numbers tell their order.
_GONE = """CREATE TABLE IF NOT EXISTS obuild_gone (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, gone TEXT NOT NULL
)"""

# Manifests of what copies took out of snapshots. ``created`` is that of the snapshot's row.
_MANIFESTS = """CREATE TABLE IF NOT EXISTS obuild_manifests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, created TEXT NOT NULL,
    question BLOB NOT NULL, text BLOB NOT NULL, UNIQUE (key, question)
)"""

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
    _GONE,
    _MANIFESTS,
)

PROBES = (
    "SELECT id, created, used, rc, parent FROM builds LIMIT 0",
    "SELECT name, value FROM obuild_values LIMIT 0",
    "SELECT key, kind, parent, base, created, seconds, settled, spec, within, position,"
    " title, executables, preimage FROM obuild_records LIMIT 0",
    "SELECT spec, within, position, key FROM obuild_places LIMIT 0",
    "SELECT id, parent FROM obuild_detached LIMIT 0",
    "SELECT id, root, used FROM obuild_roots LIMIT 0",
    "SELECT root, device, inode, size, mtime, ctime, digest FROM obuild_digests LIMIT 0",
    "SELECT number, key, gone FROM obuild_gone LIMIT 0",
    "SELECT number, key, created, question, text FROM obuild_manifests LIMIT 0",
)
"""Statements that fail where a table is missing or is another one of the same name."""
