"""kill -9 at any moment: no process, no mount, no control group survives; the store is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from obuild.engine.native import NativeEngine
from tests.engine.bases import Steps
from tests.engine.natives import make_native
from tests.native.conftest import give_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_ROUNDS = 12
_PREFIX = "obuilder-crashes"

_PROGRAM = """
import os, sys
from obuild.engine.native import NativeEngine
from obuild.ir.ops import Cache
from obuild.ir.steps import RunStep
from obuild.engine import RunCommand
from tests.engine.bases import ROOT, SHELL, Steps, TreeFiles, key_of
from threading import Event
engine = NativeEngine.of_this_user(sys.argv[1], sys.argv[2], search=os.environ["PATH"])
steps = Steps(engine)
key = steps.base("busybox")
for number in range(20):
    cache = Cache("c", "/c")
    cmd = f"echo {number} >> /f; echo {number} >> /c/n; sleep 0.02"
    step = RunStep("/", ROOT, (), cmd, SHELL, (), caches=(cache,))
    made = key_of(f"{key} {sys.argv[3]}")
    engine.execute(made, key, RunCommand(step), lambda _: None, Event())
    key = steps.put(made, "/d/", TreeFiles.of((b"x", bytes(100_000))), "put")
    print(made, key, flush=True)
"""


def _processes(text: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text.encode() in line and int(entry) != os.getpid():
                found.append(int(entry))
    return found


def _mounts(store: Path) -> list[str]:
    """Mounts of the store that any process sees."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                lines = Path(f"/proc/{entry}/mountinfo").read_text("utf-8", "replace")
            except (OSError, ProcessLookupError):
                continue
            found += [line for line in lines.splitlines() if str(store) in line]
    return found


def _groups() -> list[str]:
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"/{_PREFIX}" in path]


def _until(empty: Callable[[], list[object]]) -> list[object]:
    deadline = time.monotonic() + 10
    while (found := empty()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_kill_9(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        give_up("needs root")
    store = tmp_path / "store"
    seed = int(os.environ.get("OBUILD_CRASH_SEED", "0")) or time.time_ns() % 10**9
    random = Random(seed)
    engine = make_native(store, _PREFIX)
    Steps(engine).base("busybox")
    engine.close()
    for number in range(int(os.environ.get("OBUILD_CRASH_ROUNDS", _ROUNDS))):
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(store), _PREFIX, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        after = random.uniform(0.2, 1.8)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        told = f"seed {seed}, round {number}, killed after {after:.3f} s"
        # The helper's arguments hold the paths of this very tree; the store's name is its own.
        assert _until(lambda: [*_processes(str(store))]) == [], told
        assert _until(lambda: [*_mounts(store)]) == [], told
        with_closed = NativeEngine.of_this_user(str(store), _PREFIX, search=os.environ["PATH"])
        try:
            with_closed.sweep(lambda _: False)
            assert os.listdir(store / "native/work") == [], told
            assert _groups() == [], told
            keys = {snapshot.key for snapshot in with_closed.list()}
            done = [key for line in out.splitlines() for key in line.split()]
            assert set(done) <= keys, told
            steps = Steps(with_closed)
            for key in done[-1:]:
                lines = steps.see(key, "cat /f; stat -c %s /d/x").split()
                assert lines == [*(b"%d" % n for n in range(len(done) // 2)), b"100000"], told
        finally:
            with_closed.close()
    last = NativeEngine.of_this_user(str(store), _PREFIX, search=os.environ["PATH"])
    last.clean()
    last.sweep(lambda _: False)
    last.close()
    named = set(os.listdir(store / "native/layers")) - {"empty"}
    assert len(named) == 1, named  # busybox
    assert _groups() == []
