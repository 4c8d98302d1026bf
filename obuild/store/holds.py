"""What running builds stand on: snapshots that must stay as long as they run.

The rule needs no list that somebody would have to keep:

- A build locks its visit before it looks at the store, and the file of that lock is as old as
  the visit. Whatever the build finds or makes is used now, and so is marked as used after its
  visit began. So all that was used since the oldest running visit began may be in use.
- A step in work has its key locked, and its record, which is kept before it starts, names
  what it stands on.

Who removes a snapshot asks here within the transaction in which its row goes. A build that
marks the row before is seen; one that comes after finds no row, and does the step again.
"""

from __future__ import annotations

import sqlite3
import time

from obuild.store.locks import VISIT, Locks

__all__ = ["Holds"]

_KEY_DIGITS = 64
_COARSE = 2.0
"""Seconds by which the times of files and of rows may differ: both are cut to full ones."""


class Holds:
    """What is in use now. ``own``: the name of a lock of the caller's, which does not count."""

    def __init__(self, connection: sqlite3.Connection, locks: Locks, own: str | None = None):
        names = [name for name in locks.all_held() if name != own]
        self.locked = frozenset(name for name in names if len(name) == _KEY_DIGITS)
        began = [locks.since(name) for name in names if name.startswith(VISIT)]
        known = [found for found in began if found is not None]
        self.visits = len(known)
        self._since = _text(min(known) - _COARSE) if known else None
        # The clock was set back since a visit began: no time tells any more.
        self._doubtful = bool(known) and max(known) > time.time() + _COARSE
        self._parents = frozenset(
            parent
            for key in self.locked
            for (parent,) in connection.execute(
                "SELECT parent FROM obuild_records WHERE key = ?", (key,)
            )
        )

    def reason(self, key: str, used: str) -> str:
        """Why the snapshot ``key``, last used at ``used``, must stay; empty if it need not."""
        if key in self.locked:
            return "it is in work"
        if key in self._parents:
            return "a step in work stands on it"
        if self._doubtful:
            return "a build runs, and the clock was set back since it began"
        if self._since is not None and used >= self._since:
            return "in use by a running build"
        return ""


def _text(seconds: float) -> str:
    """A time as rows have it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
