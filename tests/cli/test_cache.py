"""``obuild cache``: what users do to the caches of runs, on a real engine."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import tarfile
import time
from pathlib import Path

import pytest

from tests import leftovers
from tests.conftest import Obuild

pytestmark = pytest.mark.engine

SPEC = """((from busybox) (shell /bin/sh -c)
 (run (cache (a (target /a))
             (b (target /b) (buildkit_options ((sharing locked)))))
      (shell "echo one > /a/f; echo two > /b/f")))"""
SEE = """((from busybox) (shell /bin/sh -c)
 (run (cache (a (target /a)) (c (target /c))) (shell "cat /a/f /c/f")))"""


@pytest.fixture
def built(obuild: Obuild, tmp_path: Path) -> Obuild:
    (tmp_path / "x.spec").write_text(SPEC)
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return obuild


def _rows(obuild: Obuild) -> list[dict[str, object]]:
    done = obuild("cache", "ls", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_list_and_remove(built: Obuild) -> None:
    rows = [(row["id"], row["sharing"], row["in_use"]) for row in _rows(built)]
    assert rows == [("a", "obuilder", False), ("b", "locked", False)]
    lines = built("cache", "ls").stdout.decode().splitlines()
    assert lines[0].split()[:3] == ["ID", "SHARING", "SIZE"]
    assert [line.split()[:2] for line in lines[1:]] == [["a", "obuilder"], ["b", "locked"]]
    done = built("cache", "rm", "a", "nothing")
    assert done.returncode == 2
    assert b"there is no cache nothing" in done.stderr
    assert len(_rows(built)) == 2
    done = built("cache", "rm", "a")
    assert (done.returncode, done.stdout) == (0, b"Removing a (obuilder)\n")
    assert built("cache", "rm", "--all").stdout == b"Removing b (locked)\n"
    assert not _rows(built)
    assert built("cache", "rm").returncode == 2


def test_export_and_import(built: Obuild, tmp_path: Path) -> None:
    for name in ("a.tar", "a.tar.gz"):
        done = built("cache", "export", "a", "-o", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        with tarfile.open(tmp_path / name) as archive:
            content = archive.extractfile("./f")
            assert content is not None
            assert content.read() == b"one\n"
    packed = (tmp_path / "a.tar.gz").read_bytes()
    assert packed.startswith(b"\x1f\x8b")
    assert built("cache", "import", "c", "-", stdin=packed).returncode == 0
    (tmp_path / "see.spec").write_text(SEE)
    done = built("run", "see.spec", cwd=tmp_path)
    assert len(re.findall(rb"\d one\n", done.stderr)) == 2, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_bad_input(built: Obuild, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive" * 200)
    for arguments, code, words in [
        (("export", "zzz"), 2, b"there is no cache zzz"),
        (("import", "a", "missing.tar"), 2, b"cannot read missing.tar"),
        (("import", "a", "."), 2, b"cannot read ."),
        (("import", "a", "bad.tar"), 3, b"cannot become a cache"),
        (("export", "a", "-o", "no/such/folder.tar"), 2, b"cannot write"),
        (("export", "a", "--sharing", "shared"), 2, b"with the sharing shared"),
        (("nonsense",), 2, b"nonsense"),
        ((), 2, b"ACTION"),
    ]:
        done = built("cache", *arguments, cwd=tmp_path)
        assert (done.returncode, words in done.stderr) == (code, True), (arguments, done.stderr)
    stream = io.BytesIO(built("cache", "export", "a").stdout)
    with tarfile.open(fileobj=stream) as archive:
        assert "./f" in archive.getnames()


def test_an_import_that_is_cancelled_changes_nothing(
    built: Obuild, engine_host: str, store_path: Path
) -> None:
    """Nor does the daemon wait for a pipe in which nothing comes: nobody could remove an image
    meanwhile."""
    process = built.start("cache", "import", "a", "-")
    assert process.stdin is not None
    process.stdin.write(bytes(100))
    process.stdin.flush()
    time.sleep(2.5)
    ours = leftovers.prefix_of(store_path)
    found = leftovers.objects(engine_host)
    assert [name for kind, name in found if kind == "container" and name.startswith(ours)] == []
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert time.monotonic() - began < 3
    process.communicate()
    stream = io.BytesIO(built("cache", "export", "a").stdout)
    with tarfile.open(fileobj=stream) as archive:
        assert "./f" in archive.getnames()
    assert len(_rows(built)) == 2


def test_a_store_that_is_not_there(obuild: Obuild, tmp_path: Path) -> None:
    """To list needs a store; to import makes one."""
    assert obuild("cache", "ls").returncode == 4
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("f"))
    done = obuild("cache", "import", "a", "-", "--sharing", "shared", stdin=stream.getvalue())
    assert done.returncode == 0, done.stderr
    assert [(row["id"], row["sharing"]) for row in _rows(obuild)] == [("a", "shared")]
