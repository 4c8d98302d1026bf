"""The contract of every engine, on the native engine, run by an ordinary user (issue 5)."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.native.ordinary import as_user, python
from tests.setup import images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_SUITE = tuple(
    f"tests/engine/test_contract{part}.py" for part in ("", "_copies", "_caches", "_secrets")
)
_NEED_GROUPS = "memory or cpus"
"""Limits need control groups, which an ordinary user has only where somebody delegated them."""


def test_contract(user: pwd.struct_passwd, folder: Path) -> None:
    place = folder / "contract"
    home = place / "home"
    home.mkdir(parents=True)
    archive = place / "busybox.tar"
    archive.write_bytes(images.busybox_root().getvalue())
    archive.chmod(0o644)
    os.chown(home, user.pw_uid, user.pw_gid)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CI": os.environ.get("CI", ""),
        "OBUILD_TEST_ENGINES": "native",
        "OBUILD_TEST_BUSYBOX": str(archive),
    }
    command = [
        *python(place),
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{home}/tmp"),
        *("-k", f"not ({_NEED_GROUPS})", *_SUITE),
    ]
    try:
        done = subprocess.run(
            as_user(user, place, command),
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed, done.stdout
        assert int(passed[1]) >= 75, done.stdout
        assert "skipped" not in done.stdout
    finally:
        shutil.rmtree(place)
