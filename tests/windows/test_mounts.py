"""Caches and secrets of runs in a played Windows guest."""

from __future__ import annotations

from pathlib import Path

from tests import leftovers
from tests.program import Obuild
from tests.windows.daemon import BASE, Daemon
from tests.windows.test_copies import STORE, make_tools


def run_of(windows: Obuild, folder: Path, run: str, *options: str | Path) -> bytes:
    (folder / "a.spec").write_text(f"((from {BASE}) {run})")
    done = windows("build", "-f", "a.spec", STORE, *options, ".", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_a_cache_is_kept(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    """OBuilder's kind: a clone for each run, which becomes the cache."""
    tools = make_tools(tmp_path / "tools.zip")
    cache = "(cache (bells (target /bells)))"
    line = "echo ding > C:\\\\bells\\\\a"
    run_of(windows, tmp_path, f'(run {cache} (shell "{line}"))', "--libexec-tools", tools)
    prefix = leftovers.prefix_of(tmp_path / "var").rstrip("-")
    assert (daemon.volume(f"{prefix}-cache-c-bells") / "a").read_text() == "ding\n"
    out = run_of(windows, tmp_path, f'(run {cache} (shell "type C:\\\\bells\\\\a"))')
    assert b"ding\n" in out
    runs = [
        request.body["HostConfig"]["Mounts"]
        for request in daemon.asked("POST", "/containers/create")
        if request.query["name"].startswith(f"{prefix}-container-")
        and request.body["Entrypoint"][0] == "cmd"
    ]
    assert [mount["Target"] for mounts in runs for mount in mounts] == ["C:/bells"] * 2
    assert {name for name in daemon.volumes if "-cache-" in name} == {f"{prefix}-cache-c-bells"}
    assert not daemon.containers


def test_a_secret_is_a_file(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    """No tools are needed: Windows' own tar puts it into a volume, which goes at once."""
    (tmp_path / "code").write_text("4711-bell")
    secret = "(secrets (code (target /run/code)))"
    out = run_of(
        windows,
        tmp_path,
        f'(run {secret} (shell "type C:\\\\run\\\\code"))',
        *("--secret", "code:code"),
    )
    assert b"4711" not in out
    assert b"***" in out
    assert not [name for name in daemon.volumes if "-secrets-" in name]
    assert not daemon.containers
    for request in daemon.requests:
        assert "4711-bell" not in f"{request.path} {request.query} {request.body}"
    for image in daemon.images.values():
        assert "4711" not in str(image.config)
        assert not [p for p in image.drive.rglob("*") if p.name == "code"]
