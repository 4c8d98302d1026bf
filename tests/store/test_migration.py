"""A database of an older obuild is taken over as it is."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from obuild.store import Store
from tests.store.samples import key, record

_SCHEMA_1 = """
CREATE TABLE IF NOT EXISTS builds (
                       id       TEXT PRIMARY KEY,
                       created  DATETIME NOT NULL,
                       used     DATETIME NOT NULL,
                       rc       INTEGER NOT NULL,
                       parent   TEXT,
                       FOREIGN KEY (parent) REFERENCES builds (id) ON DELETE RESTRICT
                     );
CREATE INDEX IF NOT EXISTS lru
                     ON builds (rc, used) ;
CREATE TABLE obuild_values (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE obuild_records (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT, base TEXT,
    created TEXT NOT NULL, seconds REAL NOT NULL, settled INTEGER NOT NULL,
    spec BLOB NOT NULL, within BLOB NOT NULL, position INTEGER NOT NULL,
    title BLOB NOT NULL, executables BLOB NOT NULL, preimage BLOB NOT NULL
);
CREATE INDEX obuild_siblings ON obuild_records (parent, created);
CREATE TABLE obuild_places (
    spec BLOB NOT NULL, within BLOB NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (spec, within, position)
) WITHOUT ROWID;
CREATE INDEX obuild_places_of ON obuild_places (key);
CREATE TABLE obuild_detached (id TEXT PRIMARY KEY, parent TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE obuild_roots (
    id INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, used TEXT NOT NULL
);
CREATE TABLE obuild_digests (
    root INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (root, device, inode)
) WITHOUT ROWID;
INSERT INTO obuild_values VALUES ('schema', 1), ('store_id', '0123');
"""


def test_schema_1(tmp_path: Path) -> None:
    folder = tmp_path / "s" / "state" / "db"
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "db.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(_SCHEMA_1)
    made = record(key(1))
    with connection:
        connection.execute(
            "INSERT INTO builds VALUES (?, ?, ?, 0, NULL)", (key(1), made.created, made.created)
        )
        connection.execute(
            "INSERT INTO obuild_records VALUES (?, 'run', NULL, NULL, ?, 0.5, 0, ?, ?, 0, ?, ?, ?)",
            (
                key(1),
                made.created,
                b"build.spec",
                b"",
                made.title.encode(),
                b"",
                b"((base x)(cmd true))",
            ),
        )
        connection.execute(
            "INSERT INTO obuild_places VALUES (?, ?, 0, ?)", (b"build.spec", b"", key(1))
        )
    connection.close()
    with Store.open(str(tmp_path / "s")) as store:
        assert store.store_id == "0123"
        assert store.record(key(1)) == made
        assert [row.id for row in store.rows()] == [key(1)]
        store.keep_manifests(key(1), "q", "text")
        store.forget([key(1)], "prune")
        last = store.last_at("build.spec", "", 0)
        assert last is not None
        assert last.gone.startswith("prune on ")
    with Store.open(str(tmp_path / "s")) as store:
        again = store.last_at("build.spec", "", 0)
        assert again == last
    connection = sqlite3.connect(os.path.join(folder, "db.sqlite"))
    [(schema,)] = connection.execute("SELECT value FROM obuild_values WHERE name = 'schema'")
    connection.close()
    assert schema == 2
