"""Several processes on one store, and processes that die in the middle."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from obuild.store import Store
from tests.store.samples import key, record

_ADD = """
import sys
from obuild.store import Store
from tests.store.samples import key, record
first, last = int(sys.argv[2]), int(sys.argv[3])
store = Store.open(sys.argv[1])
for number in range(first, last):
    store.add(key(number), None if number == first else key(number - 1), record(key(number)))
    print(number, flush=True)
"""

_ROOT = Path(__file__).resolve().parent.parent.parent


def _start(root: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _ADD, str(root), str(first), str(last)],
        stdout=subprocess.PIPE,
        cwd=_ROOT,
    )


def test_processes_begin_one_store_together(tmp_path: Path) -> None:
    processes = [_start(tmp_path / "s", first, first + 20) for first in (100, 200, 300, 400)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with Store.open(str(tmp_path / "s")) as store:
        rows = {row.id: row for row in store.rows()}
    assert set(rows) == {key(n + i) for n in (100, 200, 300, 400) for i in range(20)}
    assert sorted(row.rc for row in rows.values()) == [0] * 4 + [1] * 76


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05])
def test_a_kill_loses_nothing_that_was_told(delay: float, tmp_path: Path) -> None:
    process = _start(tmp_path / "s", 0, 1_000_000)
    assert process.stdout is not None
    told = [int(process.stdout.readline())]
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().split(b"\n")[:-1] if line]
    process.wait(60)
    process.stdout.close()
    with Store.open(str(tmp_path / "s")) as store:
        rows = {row.id: row for row in store.rows()}
        assert {key(number) for number in told} <= set(rows)
        assert len(rows) <= len(told) + 1
        assert sum(row.rc for row in rows.values()) == len(rows) - 1
        assert {found.key for found in store.records()} == set(rows)
        store.add(key(2_000_000), None, record(key(2_000_000)))
    connection = sqlite3.connect(tmp_path / "s" / "state" / "db" / "db.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
