"""A played Windows daemon, and obuild as a program that works with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import Obuild
from tests.windows.daemon import Daemon
from tests.windows.server import serve


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    folder = tmp_path / "daemon"
    folder.mkdir()
    return Daemon(folder)


@pytest.fixture
def host(daemon: Daemon) -> Iterator[str]:
    with serve(daemon) as host:
        yield host


@pytest.fixture
def windows(host: str, clean_env: dict[str, str]) -> Obuild:
    return Obuild({**clean_env, "DOCKER_HOST": host})
