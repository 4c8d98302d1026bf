"""What guests may try against the engine, and what they must not lose."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from obuild.engine.native import NativeEngine
from obuild.errors import ImageError, StepFailed
from obuild.ir.ops import UnixUser
from tests.engine.bases import Steps, TreeFiles
from tests.engine.natives import make_native
from tests.native.conftest import give_up
from tests.setup import images

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[NativeEngine]:
    if os.geteuid() != 0:
        give_up("needs root")
    made = make_native(tmp_path / "store", "obuilder-guests")
    yield made
    made.clean()
    made.close()


@pytest.fixture
def steps(engine: NativeEngine) -> Steps:
    return Steps(engine)


@pytest.mark.parametrize("name", ["/BZh", "/P*M\x18", "/\x1f\x8bx"])
def test_a_name_is_not_taken_for_a_compressed_archive(steps: Steps, name: str) -> None:
    """Else a module of Python would be loaded, by a process whose root is the guest's."""
    made = steps.put(steps.base("busybox"), f"{name}/f", TreeFiles.one(b"content"))
    assert steps.see(made, f"cat '{name}/f'") == b"content"


def test_no_module_of_the_guest_is_loaded(steps: Steps, tmp_path: Path) -> None:
    """The guest has modules of the names that the host's Python would load."""
    canary = tmp_path / "canary"
    folders = " ".join(path for path in sys.path if path.startswith("/"))
    trap = f"open({str(canary)!r}, 'w')"
    plant = (
        f"for f in {folders}; do mkdir -p $f; for m in lzma bz2 gzip zlib errno pwd; do"
        f' echo "{trap}" > $f/$m.py; done; done'
    )
    made = steps.run(steps.base("busybox"), plant)
    for name in ("/BZh", "/f"):
        steps.put(made, name, TreeFiles.one(b"x"), name)
    steps.run(made, "true")
    assert not canary.exists()


_LISTENING = """
import os, sys
from obuild.engine.native import NativeEngine
from tests.engine.bases import Steps
engine = NativeEngine.of_this_user(sys.argv[1], "obuilder-guests", search=os.environ["PATH"])
steps = Steps(engine)
base = steps.base("busybox")
got = []
steps.run(base, "ls /proc/self/fd; env", output=got.append)
print(b"".join(got).decode())
engine.close()
"""


def test_neither_environment_nor_descriptors_reach_the_guest(
    engine: NativeEngine, tmp_path: Path
) -> None:
    environment = {**os.environ, "LISTEN_FDS": "8", "LISTEN_PID": "1", "NOTIFY_SOCKET": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", _LISTENING, str(tmp_path / "store")],
        env={**environment, "OF_THE_HOST": "secret"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    numbers = [line for line in done.stdout.split() if line.isdigit()]
    assert numbers in (["0", "1", "2"], ["0", "1", "2", "3"])  # ls has its folder open
    for word in ("LISTEN", "NOTIFY", "OF_THE_HOST"):
        assert word not in done.stdout


def test_a_sweep_beside_builds_removes_nothing_of_theirs(
    engine: NativeEngine, steps: Steps, tmp_path: Path
) -> None:
    """Another process sweeps all the time, and knows of no lock."""
    stop = threading.Event()
    other = NativeEngine.of_this_user(
        str(tmp_path / "store"), "obuilder-guests", search=os.environ["PATH"]
    )
    swept: list[object] = []

    def sweep() -> None:
        while not stop.is_set():
            swept.extend(other.sweep(lambda _: False))

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        key = steps.base("busybox")
        for number in range(12):
            key = steps.run(key, f"echo {number} >> /f")
            key = steps.put(key, "/d/", TreeFiles.of((b"f", b"%d" % number)), str(number))
    finally:
        stop.set()
        thread.join()
        other.close()
    assert swept == []
    assert steps.see(key, "cat /f /d/f").split() == [*(b"%d" % n for n in range(12)), b"11"]


def test_a_hostile_archive_is_an_error_of_the_image(engine: NativeEngine) -> None:
    for content in (b"no archive" * 200, images.busybox_root().getvalue()[:70_000]):
        with TemporaryFile() as archive:
            archive.write(BytesIO(content).getvalue())
            archive.seek(0)
            with pytest.raises(ImageError):
                engine.import_tree("bad", archive, {"os": "linux"})
    assert engine.sweep(lambda _: False) == ()


def test_a_deep_tree_jams_nothing(engine: NativeEngine, steps: Steps) -> None:
    base = steps.base("busybox")
    deep = "i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done"
    with pytest.raises(StepFailed):
        steps.run(base, f"{deep}; exit 1")
    assert engine.sweep(lambda _: False) == ()
    assert steps.see(base, "echo on") == b"on\n"


def test_the_root_stays_as_it_is_whatever_the_umask(steps: Steps) -> None:
    made = steps.run(steps.base("busybox"), "chown 3:4 /; chmod 1751 /")
    old = os.umask(0o077)
    try:
        made = steps.put(steps.run(made, "echo > /f"), "/g", TreeFiles.one(b"g"))
    finally:
        os.umask(old)
    got: list[bytes] = []
    steps.run(made, "stat -c '%u %g %a' /", user=UnixUser(1000, 1000), output=got.append)
    assert got == [b"3 4 1751\n"]
