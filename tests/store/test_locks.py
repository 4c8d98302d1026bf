"""Locks: threads and processes alike, freed by death, cancelled while waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from obuild.errors import Cancelled
from obuild.store import Store
from tests.store.samples import key

_HOLD = """
import sys
from threading import Event
from obuild.store import Store
store = Store.open(sys.argv[1])
with store.lock(sys.argv[2], Event(), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""

_COUNT = """
import sys
from threading import Event
from obuild.store import Store
store = Store.open(sys.argv[1])
for _ in range(50):
    with store.lock(sys.argv[2], Event(), lambda: None):
        with open(sys.argv[3]) as file:
            number = int(file.read())
        with open(sys.argv[3], "w") as file:
            file.write(str(number + 1))
"""

_ROOT = Path(__file__).resolve().parent.parent.parent


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )


@contextmanager
def _holder(store: Store, held: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock."""
    process = _start(_HOLD, store.path, held)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


def _unwaited() -> None:
    pytest.fail("had to wait")


def _files(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.path, "locks"))


def test_a_free_lock_is_had_at_once_and_leaves_no_file(store: Store) -> None:
    assert not store.alive(key(1))
    with store.lock(key(1), Event(), _unwaited):
        assert store.alive(key(1))
        assert not store.alive(key(2))
        assert store.running() == [key(1)]
        with store.lock(key(2), Event(), _unwaited):
            assert store.running() == [key(1), key(2)]
    assert store.running() == []
    assert _files(store) == []


def test_a_lock_is_let_go_on_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock(key(1), Event(), _unwaited):
        raise ZeroDivisionError
    assert not store.alive(key(1))


def test_fifty_threads_take_turns(store: Store) -> None:
    inside, most, done, waited = 0, 0, 0, 0
    guard = Lock()

    def wait() -> None:
        nonlocal waited
        with guard:
            waited += 1

    def work() -> None:
        nonlocal inside, most, done
        with store.lock(key(1), Event(), wait):
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            done += 1
            inside -= 1

    threads = [Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 50)
    assert 0 < waited <= 49
    assert _files(store) == []


def test_processes_take_turns(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [_start(_COUNT, store.path, key(1), str(counter)) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert counter.read_text() == "150"
    assert _files(store) == []


def test_a_lock_of_another_process_is_waited_for(store: Store) -> None:
    told: list[str] = []
    polled: list[float] = []
    with _holder(store, key(1)) as process:
        assert store.alive(key(1))
        assert store.running() == [key(1)]

        def poll() -> None:
            polled.append(time.monotonic())
            if len(polled) == 10:
                assert process.stdin is not None
                process.stdin.close()

        with store.lock(key(1), Event(), lambda: told.append("waiting"), poll):
            assert process.wait(10) == 0
    assert told == ["waiting"]
    pauses = [after - before for before, after in pairwise(polled)]
    assert sorted(pauses)[len(pauses) // 2] < 0.2


def test_a_killed_holder_holds_nothing(store: Store) -> None:
    with _holder(store, key(1)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert _files(store) == [f"{key(1)}.lock"]
        assert not store.alive(key(1))
        assert store.running() == []
        with store.lock(key(1), Event(), _unwaited):
            assert store.alive(key(1))
    assert _files(store) == []


def test_a_waiter_gets_the_lock_of_a_killed_holder(store: Store) -> None:
    with _holder(store, key(1)) as process, store.lock(key(1), Event(), process.kill):
        assert process.wait(10) == -signal.SIGKILL


def test_waiting_is_cancelled(store: Store) -> None:
    cancel = Event()
    with store.lock(key(1), Event(), _unwaited):
        start = time.monotonic()
        with pytest.raises(Cancelled), store.lock(key(1), cancel, cancel.set):
            pytest.fail("was held")
        assert time.monotonic() - start < 2
        assert store.alive(key(1))
    with pytest.raises(Cancelled), store.lock(key(1), cancel, _unwaited):
        pytest.fail("was held")
    assert _files(store) == []


def test_a_lock_file_that_is_removed_under_a_waiter_is_made_anew(store: Store) -> None:
    """Two may never hold one lock because one locked a file that has no name any more."""
    for _ in range(20):
        order: list[str] = []
        ready = Event()

        def second(order: list[str] = order, ready: Event = ready) -> None:
            with store.lock(key(1), Event(), ready.set):
                order.append("second in")
                time.sleep(0.005)
                order.append("second out")

        with store.lock(key(1), Event(), _unwaited):
            thread = Thread(target=second)
            thread.start()
            ready.wait(10)
            order.append("first out")
        with store.lock(key(1), Event(), lambda: None):
            order.append("third")
        thread.join()
        assert order.index("second out") == order.index("second in") + 1
        assert order[0] == "first out"


def test_asking_does_not_make_others_wait(store: Store) -> None:
    stop = Event()

    def ask() -> None:
        # With pauses: a thread that asks all the time may be stopped, for the other one to run,
        # just while it has its share, and it has it for a large part of the time.
        while not stop.wait(0.0005):
            store.alive(key(1))

    thread = Thread(target=ask)
    thread.start()
    waited: list[None] = []
    try:
        for _ in range(300):
            with store.lock(key(1), Event(), lambda: waited.append(None)):
                pass
    finally:
        stop.set()
        thread.join()
    assert len(waited) <= 3


def test_names_other_than_keys_can_be_locked(store: Store) -> None:
    with store.lock("cache-c-wax", Event(), _unwaited):
        assert store.running() == ["cache-c-wax"]
