"""Keys and records for tests, and the golden stores, made anew as OBuilder left them."""

from __future__ import annotations

import base64
import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obuild.store import Record
from obuild.values import replace

__all__ = [
    "GoldenState",
    "fill",
    "golden_states",
    "key",
    "leave_as_obuilder",
    "prefix_cases",
    "record",
]

_GOLDEN = Path(__file__).resolve().parent.parent / "golden"

# What OBuilder does to a database: it leaves without closing it, the tables in the -wal.
_LEAVE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.executescript(sys.stdin.read())
os._exit(0)
"""


def key(number: int) -> str:
    """A key that no other number has."""
    return f"{number:08x}".ljust(64, "0")


def fill(disk: Path) -> None:
    """Leave no room on a file system."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            pass


def record(of: str, **changes: Any) -> Record:
    """A record of a run, with ``changes``."""
    plain = Record(
        key=of,
        kind="run",
        title="(run (shell true))",
        preimage="((base x)(cmd true))",
        spec="build.spec",
        within="",
        position=0,
        created="2026-01-02 03:04:05",
        seconds=0.5,
        settled=False,
        executables=(),
        base=None,
    )
    return replace(plain, **changes)


@dataclass(frozen=True)
class GoldenState:
    """A store of OBuilder at one moment. ``rows``: id, created, used, rc, parent."""

    store: int
    number: int
    what: str
    command: tuple[str, ...]
    stdout: str
    dump: str
    rows: tuple[tuple[str, str, str, int, str | None], ...]
    images: frozenset[str]
    logs: tuple[tuple[str, bytes], ...]

    def __str__(self) -> str:
        return f"{self.store}-{self.number}"


@functools.cache
def golden_states() -> tuple[GoldenState, ...]:
    stores = json.loads((_GOLDEN / "store" / "store.json").read_text())["stores"]
    return tuple(
        _state(store, number, state)
        for store, whole in enumerate(stores)
        for number, state in enumerate(whole["states"])
    )


def _state(store: int, number: int, state: dict[str, Any]) -> GoldenState:
    columns = ("id", "created", "used", "rc", "parent")
    return GoldenState(
        store=store,
        number=number,
        what=state["what"],
        command=tuple(state["command"]),
        stdout=state["stdout"],
        dump=state["db"]["dump"],
        rows=tuple(
            (*(row[c] for c in columns[:3]), int(row["rc"]), row["parent"])
            for row in state["db"]["rows"]
        ),
        images=frozenset(
            image["name"].split("-image-")[1].removesuffix(":latest") for image in state["images"]
        ),
        logs=tuple((log["name"], base64.b64decode(log["content_b64"])) for log in state["logs"]),
    )


def prefix_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((_GOLDEN / "prefix" / "prefix.json").read_text())[
        "cases"
    ]
    return cases


def leave_as_obuilder(root: Path, state: GoldenState) -> None:
    """The directory as OBuilder leaves it: open to others, the tables in the -wal only."""
    mask = os.umask(0o022)
    try:
        (root / "empty").mkdir(parents=True)
        (root / "empty").chmod(0)
        (root / "state" / "db").mkdir(parents=True)
        (root / "logs").mkdir()
        for name, content in state.logs:
            (root / "logs" / name).write_bytes(content)
        subprocess.run(
            [sys.executable, "-c", _LEAVE, root / "state" / "db" / "db.sqlite"],
            input=state.dump.encode(),
            check=True,
        )
    finally:
        os.umask(mask)
    assert (root / "state" / "db" / "db.sqlite-wal").stat().st_size > 0
