"""The store: a directory with the database, the logs and the locks. It knows no engine.

Layout, under the path that the user names: ``state/db/db.sqlite`` (with its ``-wal`` and
``-shm``), ``logs/KEY.log``, ``locks/KEY.lock``.

Decisions:

- **OBuilder's table stays OBuilder's.** ``builds`` and its index are made with the same text
  and keep the same meaning, so both programs can use one store, in turn. What obuild knows
  beyond it stands in tables of its own (``obuild_…``), with a schema number of their own.
- **A row's parent has a row, always.** When a row goes and rows built on it stay (their
  images are whole without it), they get no parent, which OBuilder understands, and the link
  is kept aside until the parent's row is made again: ``delete`` of a parent then finds all
  that was built on it, as ever.
- **What may be half made is no hit.** An image without a row is taken over only if it bears
  obuild's mark; what OBuilder built on one that does not is not trusted either. See
  ``reconciliation``.
- **Write-ahead log, synchronous NORMAL.** A kill at any moment corrupts nothing; a crash of
  the machine may lose the newest rows, which costs a rebuild.
- **A lock is who holds it,** never a number in a file: ``flock``, freed by the kernel. The
  same lock keeps threads and processes apart. The store must be on a file system of this
  machine; ``flock`` and SQLite's log need that.
- **What is gone is remembered** for a while, with the reason: ``obuild explain`` tells it.
- **What a running build stands on stays.** See ``holds``.
- **A damaged database is kept aside,** never guessed at; the engine knows what there is. See
  ``mending``.
- **Private.** Directories 0700, files 0600, no links below the store, one owner.
"""

from obuild.store.identity import prefix_of
from obuild.store.logs import Follower, LogFile
from obuild.store.reconciliation import Reconciliation
from obuild.store.records import Record
from obuild.store.rows import Row, timestamp
from obuild.store.store import Store

__all__ = [
    "Follower",
    "LogFile",
    "Reconciliation",
    "Record",
    "Row",
    "Store",
    "prefix_of",
    "timestamp",
]
