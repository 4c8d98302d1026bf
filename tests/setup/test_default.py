from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.setup import client, default
from tests.setup.shell import SetupError


def test_pid_file_of_a_running_daemon_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{os.getpid()}\n")
    own = Path("/proc/self/comm").read_text().strip()
    assert default.is_running(file, own)
    assert file.exists()


@pytest.mark.parametrize("content", ["", "no number", "999999999", "self"])
def test_stale_pid_file_is_removed(tmp_path: Path, content: str) -> None:
    """``self``: the number has gone to another program since."""
    file = tmp_path / "pid"
    file.write_text(str(os.getpid()) if content == "self" else content)
    assert not default.is_running(file, "dockerd")
    assert not file.exists()


def test_missing_pid_file_is_no_daemon(tmp_path: Path) -> None:
    assert not default.is_running(tmp_path / "pid", "dockerd")


def test_named_engine_that_does_not_answer_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DOCKER_HOST is the user's word: nothing is installed or started instead."""
    host = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(SetupError, match=f"no Docker engine answers at {host}"):
        default.ensure_default()


def test_engine_that_hangs_does_not_answer(tmp_path: Path) -> None:
    """A socket on which somebody listens and never says a word."""
    socket = tmp_path / "s"
    listener = (
        "import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", listener, socket], stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert client.version(f"unix://{socket}", deadline=1) is None
        process.kill()
