"""Where builds crash: an engine, a store and a context of one test's own, and what must hold.

Randomness comes from one seed, ``OBUILD_CRASH_SEED``, which every failure names; the rounds of
each kind are ``OBUILD_CRASH_ROUNDS``.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker import APIClient

from tests import leftovers
from tests.crash import scripts
from tests.program import Obuild
from tests.setup import client, images
from tests.setup.daemons import Daemon

__all__ = ["Site", "dice", "rounds", "words"]

_TAG = "obuild-test/crash"
_DEADLINE = 120.0
_SEED = os.environ.get("OBUILD_CRASH_SEED") or str(random.SystemRandom().randrange(1 << 32))


def dice(kind: str) -> random.Random:
    """Random numbers that follow from the seed and the kind of crash."""
    return random.Random(f"{_SEED} {kind}")


def rounds(default: int) -> int:
    return int(os.environ.get("OBUILD_CRASH_ROUNDS") or default)


@dataclass
class Site:
    """One store on one engine."""

    daemon: Daemon
    folder: Path
    environ: dict[str, str]
    edition: int = 0
    seconds: float = 3.0
    history: list[str] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("context", "tmp", "out"):
            (self.folder / name).mkdir(exist_ok=True)
        self.environ = {
            **self.environ,
            "DOCKER_HOST": self.daemon.host,
            "OBUILD_STORE": f"docker:{self.store}",
            "TMPDIR": str(self.folder / "tmp"),
        }

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def obuild(self) -> Obuild:
        return Obuild(self.environ)

    @property
    def prefix(self) -> str:
        return leftovers.prefix_of(self.store)

    def api(self) -> APIClient:
        return client.connect(self.daemon.host)

    # Builds

    def new_edition(self) -> None:
        """From now on nothing is stored of what the build needs, but the base."""
        self.edition += 1
        scripts.write(self.folder / "context", self.edition)

    def start(self) -> subprocess.Popen[bytes]:
        """The build, begun. Its output goes to files, so that nobody has to read it."""
        number = len(self.running)
        out, err = self._streams(number)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*self._words()],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and events of the build, which must come to an end by itself."""
        number = self.running.index(process)
        _, err = self._streams(number)
        try:
            code = process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill(process)
            raise AssertionError(self.tell(f"no end: {err.read_text()[-2000:]}")) from None
        lines = err.read_text("utf-8", "replace").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        rest = [line for line in lines if not line.startswith("{")]
        assert not any("Traceback" in line for line in rest), self.tell("\n".join(rest))
        if rest:
            events.append({"event": "said", "message": "\n".join(rest)})
        return code, events

    def build(self) -> tuple[int, list[dict[str, Any]]]:
        return self.finish(self.start())

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9; what the program had started itself dies with it."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def measure(self) -> None:
        """How long an undisturbed build takes, so that kills fall everywhere in it."""
        self.new_edition()
        began = time.monotonic()
        self.check_build(set())
        self.seconds = time.monotonic() - began

    # What must hold

    def check_build(self, present: set[str] | None = None) -> list[dict[str, Any]]:
        """The build succeeds, with the right files; of ``present``, the keys that the engine
        had complete snapshots of before, none is built again; and nothing is left behind."""
        code, events = self.build()
        assert code == 0, self.tell(f"exit {code}: {words(events)}")
        self._check_result()
        if present is not None:
            saved = {e["key"] for e in events if e["event"] == "step-saved"}
            assert not saved & present, self.tell(f"built again: {sorted(saved & present)}")
        self.check_nothing_left()
        return events

    def snapshots(self, *, marked_only: bool = False) -> set[str]:
        """The keys that the engine has images of."""
        api = self.api()
        start = f"{self.prefix}image-"
        try:
            found = set()
            for image in api.images():
                for tag in image.get("RepoTags") or ():
                    key = tag.removeprefix(start).removesuffix(":latest")
                    if tag.startswith(start) and not key.startswith("tmp-"):
                        complete = not marked_only or self._has_mark(api, tag)
                        found |= {key} if complete else set()
            return found
        finally:
            api.close()

    def check_nothing_left(self) -> None:
        """No object, file or row of a build that is not there any more."""
        snapshots = self.snapshots()
        allowed = {("image", f"{self.prefix}image-{key}:latest") for key in snapshots}
        allowed |= {("volume", f"{self.prefix}libexec"), ("image", f"{_TAG}:latest")}
        allowed.add(("image", f"{self.prefix}empty:latest"))  # for containers of volumes alone
        found = leftovers.objects(self.daemon.host)
        extra = {
            entry
            for entry in found - allowed
            if entry[0] != "network" and not self._is_cache(entry)
        }
        assert not extra, self.tell(f"left on the engine: {sorted(extra)}")
        assert not list((self.store / "locks").iterdir()), self.tell("locks are left")
        assert not list((self.folder / "tmp").iterdir()), self.tell("temporary files are left")
        rows = self._rows()
        assert set(rows) == snapshots, self.tell(f"rows and images differ: {rows} {snapshots}")
        assert {parent for parent in rows.values() if parent} <= set(rows), self.tell("parents")

    def check_clean(self) -> None:
        """After ``clean`` nothing is left at all."""
        done = self.obuild("clean")
        assert done.returncode == 0, self.tell(done.stderr.decode())
        api = self.api()
        try:
            if any(f"{_TAG}:latest" in (i.get("RepoTags") or ()) for i in api.images()):
                api.remove_image(_TAG)
        finally:
            api.close()
        left = {entry for entry in leftovers.objects(self.daemon.host) if entry[0] != "network"}
        assert not left, self.tell(f"left by clean: {sorted(left)}")
        assert not self._rows(), self.tell("rows are left")
        assert not list((self.store / "logs").iterdir()), self.tell("logs are left")

    def tell(self, what: str) -> str:
        """What went wrong, and how to have it again."""
        script = "\n".join(self.history[-6:])
        return (
            f"{what}\nOBUILD_CRASH_SEED={_SEED}, edition {self.edition}, what was done:\n{script}"
        )

    def note(self, what: str) -> None:
        self.history.append(f"edition {self.edition}: {what}")

    def ensure_base(self) -> None:
        images.ensure_busybox(self.daemon.host)

    # Parts

    def _words(self) -> Iterable[str]:
        import sys

        context = self.folder / "context"
        yield from (sys.executable, "-m", "obuild", "run", str(context / "crash.spec"))
        yield from (str(context / "src"), "-t", _TAG, "--progress", "json")
        if scripts.MOUNTS:
            yield from ("--secret", f"key:{context / 'secret'}")

    def _streams(self, number: int) -> tuple[Path, Path]:
        return self.folder / "out" / f"{number}.out", self.folder / "out" / f"{number}.err"

    def _check_result(self) -> None:
        """The files of the named image, as an export of a container of it has them."""
        wanted = scripts.expected(self.edition)
        api = self.api()
        try:
            container = api.create_container(_TAG, ["none"])["Id"]
            try:
                export = b"".join(api.export(container))
            finally:
                api.remove_container(container, v=True)
        finally:
            api.close()
        with tarfile.open(fileobj=io.BytesIO(export)) as archive:
            for path, content in wanted.items():
                member = archive.extractfile(path)
                assert member is not None, self.tell(f"no file {path}")
                assert member.read() == content, self.tell(f"the content of {path}")
            assert "in/tree/f1" not in archive.getnames(), self.tell("f1 is there")

    def _rows(self) -> dict[str, str | None]:
        with sqlite3.connect(self.store / "state" / "db" / "db.sqlite") as connection:
            return dict(connection.execute("SELECT id, parent FROM builds"))

    def _has_mark(self, api: APIClient, tag: str) -> bool:
        return api.inspect_image(tag).get("Comment", "").split()[:1] == ["obuild"]

    def _is_cache(self, entry: tuple[str, str]) -> bool:
        return entry[0] == "volume" and entry[1].startswith(f"{self.prefix}cache-")


def words(events: Iterable[dict[str, Any]]) -> str:
    """What the build said of its failure, and what its commands printed."""
    told = (e.get("message") or e.get("data") for e in events if e["event"] in _TOLD)
    return "; ".join(str(text) for text in told)


_TOLD = ("step-failed", "step-output", "warned", "said")
