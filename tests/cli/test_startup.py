"""What a run loads: the modules decide how long obuild takes where nothing is to be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import Obuild

_SPEC = """\
; a comment
((build tools ((from busybox) (shell /bin/sh -c) (run (shell "true"))))
 (from busybox)
 (shell /bin/sh -c)
 (run (shell "echo \\"hello\\" > /greeting"))
 (copy (src note.txt) (dst /notes/)))
"""
_PROBE = """\
import sys
before = set(sys.modules)
from obuild.cli.main import main
try:
    sys.exit(main())
finally:
    print(*(set(sys.modules) - before), file=sys.stderr)
"""
_SLOW = {
    *("docker", "requests", "urllib3", "rich", "lark"),
    *("asyncio", "concurrent", "email", "http", "logging", "multiprocessing", "ssl", "xml"),
    *("pathlib", "subprocess", "tempfile"),
}
"""Each takes longer than any part of obuild's own."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "simple.spec").write_text(_SPEC)
    (tmp_path / "note.txt").write_text("a note\n")
    return tmp_path


def _loaded(obuild: Obuild, folder: Path, *arguments: str) -> set[str]:
    """The modules that a command loads."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments],
        cwd=folder,
        env=obuild.environ,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.decode().splitlines()[-1].split())


def _slow(modules: set[str]) -> set[str]:
    return {module for module in modules if module.partition(".")[0] in _SLOW}


@pytest.mark.engine
@pytest.mark.parametrize("command", [["run"], ["run", "-q"], ["run", "--progress", "plain"]])
def test_a_cached_run_loads_no_library(
    obuild: Obuild, project: Path, command: list[str], base_image: str
) -> None:
    assert base_image == "busybox"
    assert obuild("run", "simple.spec", cwd=project).returncode == 0
    loaded = _loaded(obuild, project, *command, "simple.spec")
    assert _slow(loaded) == set()
    assert "obuild.engine.docker.glance" in loaded
    assert "obuild.engine.docker.engine" not in loaded


def test_a_plan_needs_neither_store_nor_engine(obuild: Obuild, project: Path) -> None:
    loaded = _loaded(obuild, project, "plan", "simple.spec")
    assert _slow(loaded) == set()
    assert "obuild.executor.plan" in loaded
    assert [m for m in loaded if m.startswith(("obuild.store", "obuild.engine.docker"))] == []


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_is_said_of_obuild_itself_needs_no_command(
    obuild: Obuild, project: Path, option: str
) -> None:
    loaded = _loaded(obuild, project, option)
    assert _slow(loaded) == set()
    assert "obuild.cli.main" in loaded
    assert [m for m in loaded if m.startswith(("obuild.cli.commands", "obuild.events"))] == []


def test_the_probe_sees_what_is_loaded(obuild: Obuild, project: Path) -> None:
    """A spec that is not plain needs the grammar."""
    (project / "simple.spec").write_text(f"#| a block |# {_SPEC}")
    assert "lark" in _slow(_loaded(obuild, project, "plan", "simple.spec"))
