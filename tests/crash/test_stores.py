"""The state directory is lost in parts, or whole, or has no space left (issue 4)."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.site import Site, dice, rounds, words
from tests.setup.daemons import Daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(0)]  # each build has a deadline

_STORE_ERROR, _ENGINE_ERROR = 4, 3


def test_the_store_is_lost(site: Site) -> None:
    """Database, state directory, locks, logs or all of it, after a kill: what the engine has
    and bears obuild's mark is not built again."""
    random = dice("store")
    for _ in range(rounds(3)):
        site.new_edition()
        process = site.start()
        after = random.uniform(0.15, site.seconds * 1.2)
        what = random.choice(["state/db", "state", "locks", "logs", ""])
        site.note(f"kill -9 after {after:.3f} s, then rm -rf store/{what}")
        time.sleep(after)
        site.kill(process)
        shutil.rmtree(site.store / what, ignore_errors=True)
        site.check_build(site.snapshots(marked_only=True))
    site.check_clean()


def test_the_store_is_lost_while_it_is_used(site: Site) -> None:
    """The build that runs may end as it likes, in order; the next one is right."""
    random = dice("store in use")
    for _ in range(rounds(2)):
        site.new_edition()
        process = site.start()
        after = random.uniform(0.2, site.seconds)
        what = random.choice(["state/db", "state", "locks", ""])
        site.note(f"rm -rf store/{what} after {after:.3f} s, while it runs")
        time.sleep(after)
        shutil.rmtree(site.store / what, ignore_errors=True)
        code, events = site.finish(process)
        assert code in (0, _STORE_ERROR), site.tell(f"exit {code}: {words(events)}")
        site.check_build()
    site.check_clean()


def test_the_store_s_disk_is_full(site: Site) -> None:
    """It is said with exit code 4; when there is space again nothing is lost or left."""
    random = dice("full store")
    with _small_disk(site.store, "32m"):
        site.new_edition()
        site.check_build()
        for _ in range(rounds(2)):
            site.new_edition()
            left = random.choice([0, 4, 16, 64, 200]) * 1024
            site.note(f"{left} bytes left for the store")
            filler = _fill(site.store, left)
            code, events = site.build()
            told = words(events)
            assert code in (0, _STORE_ERROR), site.tell(f"exit {code}: {told}")
            assert code == 0 or "no space" in told.lower(), site.tell(told)
            filler.unlink()
            site.check_build()
        site.check_clean()


@pytest.fixture
def small_engine(own_engine: Callable[[], Daemon]) -> Iterator[Daemon]:
    """An engine whose data lie on a file system of 256 MB."""
    daemon = own_engine()
    daemon.stop()
    shutil.rmtree(daemon.state_folder)
    with _small_disk(daemon.state_folder, "256m"):
        daemon.start()
        yield daemon
        daemon.stop()


def test_the_engine_s_disk_is_full(
    small_engine: Daemon, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    """It is said with exit code 3; when there is space again nothing is lost or left."""
    site = Site(small_engine, tmp_path, clean_env)
    site.ensure_base()
    site.measure()
    random = dice("full engine")
    for _ in range(rounds(2)):
        site.new_edition()
        left = random.choice([0, 50, 500, 1500, 3000]) * 1024
        site.note(f"{left} bytes left for the engine")
        filler = _fill(small_engine.state_folder, left)
        code, events = site.build()
        told = words(events)  # the command itself may have met it: exit code 1
        assert code in (0, 1, _ENGINE_ERROR), site.tell(f"exit {code}: {told}")
        assert code == 0 or "no space" in told.lower(), site.tell(told)
        filler.unlink()
        site.check_build(site.snapshots(marked_only=True))
    site.check_clean()


class _small_disk:
    """A file system of its own at a folder."""

    def __init__(self, folder: Path, size: str):
        self._folder = folder
        self._size = size

    def __enter__(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        options = f"size={self._size},mode=700"
        words = ["mount", "-t", "tmpfs", "-o", options, "obuild-crash", str(self._folder)]
        made = subprocess.run(words, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no file system can be mounted here: {made.stderr}")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self._folder], check=True)


def _fill(folder: Path, left: int) -> Path:
    """Fill the file system but for so many bytes; returns the file that does it."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free
    with filler.open("wb") as file:
        for _ in range(max(0, free - left) // 4096):
            file.write(bytes(4096))
    return filler
