"""A store that OBuilder made, recreated on a real engine: every step of it is a hit, and what
obuild adds to it is as OBuilder would have it (golden: ``store/``).

The images get their files by hand, by commands that leave what the steps of the spec left,
and their configurations from the golden data; none of them bears obuild's mark.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from tests import leftovers
from tests.conftest import Obuild
from tests.setup import client
from tests.store.samples import GoldenState, golden_states, leave_as_obuilder
from tests.vectors import load, plant

pytestmark = pytest.mark.engine

_STORES = load("store/store.json")["stores"]
_BELL = "printf 'bronze bell'"
_FILES = {
    "c412bbd9": f"mkdir /out; {_BELL} > /out/bell; printf clapper > /out/clapper",
    "95a857c7": "mkdir /yard; echo gravel > /yard/path",
    "5b05859f": "echo ding > /bell.txt",
    "f306cfc8": f"mkdir /hung; {_BELL} > /hung/bell; printf clapper > /hung/clapper",
    "6739350c": "mkdir -p /belfry/tower; echo ding > /belfry/bell.txt;"
    " echo 112 > /belfry/tower/steps; ln -s steps /belfry/tower/up",
    "ccddb381": "printf bronze > /bell",
    "31aad59b": "printf bronze > /bell",
}
"""By the first digits of a key what its step left in the files, where it left anything."""

_ACCIDENT = "f306cfc8c6872a3271e0ab86d0b1befa0cec2666af3707b656da4ac166c1eb66"


def _state(store: int, number: int) -> GoldenState:
    return next(s for s in golden_states() if (s.store, s.number) == (store, number))


def recreate(host: str, store: Path, state: GoldenState) -> None:
    """Database, logs, images and volumes as OBuilder left them, for the prefix of ``store``."""
    leave_as_obuilder(store, state)
    golden = _STORES[state.store]["states"][state.number]
    prefix = leftovers.prefix_of(store)
    parents = {row[0]: row[4] for row in state.rows}
    with client.connect(host) as api:
        waiting = {
            image["name"].split("-image-")[1].removesuffix(":latest"): image
            for image in golden["images"]
        }
        parents |= {key: _parent_of(image) for key, image in waiting.items() if key not in parents}
        while waiting:
            key = next(key for key in waiting if parents[key] not in waiting)
            _make_image(api, prefix, key, parents[key], waiting.pop(key))
        for volume in golden["volumes"]:
            name = prefix + volume["name"].split("-", 2)[2]
            api.create_volume(name)
            _fill_volume(api, name, volume["files"])


def _parent_of(image: dict[str, Any]) -> str:
    found: str = image["parent_is"].split("-image-")[1].removesuffix(":latest")
    return found


def _make_image(
    api: APIClient, prefix: str, key: str, parent: str | None, image: dict[str, Any]
) -> None:
    name = f"{prefix}image-{key}"
    if parent is None:
        api.tag(image["same_image_as"][0], name)
        return
    command = _FILES.get(key[:8], ":")
    container = api.create_container(
        f"{prefix}image-{parent}", ["-c", command], entrypoint=["/bin/sh"], user="0:0"
    )["Id"]
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0
        made = api.commit(container, repository=name, tag="latest", conf=image["config"])
    finally:
        api.remove_container(container)
    assert not api.inspect_image(made["Id"])["Comment"]


def _fill_volume(api: APIClient, name: str, files: list[dict[str, Any]]) -> None:
    """What obuild finds there; of OBuilder's own script the golden data tell only the size."""
    lines = []
    for file in files:
        path = f"/v/{file['path']}"
        if file["type"] == "file":
            lines.append(f"echo {file.get('content_b64', '')} | base64 -d > {path}")
        lines.append(f"chmod {file['mode']} {path}; chown {file['uid']}:{file['gid']} {path}")
    host = api.create_host_config(binds=[f"{name}:/v"])
    container = api.create_container(
        "debian:12", ["sh", "-ec", "\n".join(lines)], host_config=host
    )["Id"]
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0
    finally:
        api.remove_container(container, v=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _plant(project: Path, store: int, *more: str) -> list[str]:
    """The input of that store, ``more`` ops at the end of its spec; the arguments for it."""
    golden = _STORES[store]
    plant(project / "context", golden["context"])
    spec = golden["spec"].rstrip()
    assert spec.endswith(")")
    (project / "build.spec").write_text(spec[:-1] + "\n".join(more) + ")")
    arguments = ["-f", "build.spec", "context"]
    for secret in golden["secrets"]:
        (project / secret["id"]).write_bytes(base64.b64decode(secret["value_b64"]))
        arguments += ["--secret", f"{secret['id']}:{secret['id']}"]
    return arguments


def run(obuild: Obuild, project: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """The events of a build with OBuilder's keys."""
    done = obuild("run", *arguments, "--obuilder-keys", "--progress", "json", cwd=project)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return [json.loads(line) for line in done.stderr.splitlines()]


def _keys(events: list[dict[str, Any]], kind: str) -> list[str]:
    return [event["key"] for event in events if event["event"] == kind]


def _rows(store: Path) -> dict[str, tuple[int, str | None]]:
    with sqlite3.connect(store / "state" / "db" / "db.sqlite") as connection:
        found = connection.execute("SELECT id, rc, parent FROM builds").fetchall()
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    return {key: (rc, parent) for key, rc, parent in found}


@pytest.mark.parametrize("number", [0, 1])
def test_every_step_is_a_hit(
    number: int,
    obuild: Obuild,
    project: Path,
    store_path: Path,
    engine_host: str,
    debian_image: str,
) -> None:
    state = _state(0, number)
    recreate(engine_host, store_path, state)
    before = _rows(store_path)
    arguments = _plant(project, 0)
    for _ in range(2):
        events = run(obuild, project, arguments)
        assert (
            events[-1]["key"] == "ca36042069d30ba9b7c0babe2be98a08143ca3ad38301124a737b492254a4885"
        )
        assert _keys(events, "step-saved") == []
        assert set(_keys(events, "step-hit")) == {row[0] for row in state.rows}
    assert _rows(store_path) == before
    for name, content in state.logs:
        assert (store_path / "logs" / name).read_bytes() == content
    done = obuild("build", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"---> using ") == 11
    assert b"---> saved" not in done.stdout


def test_what_obuild_adds_is_as_obuilder_finds_its_own(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str, debian_image: str
) -> None:
    state = _state(0, 0)
    recreate(engine_host, store_path, state)
    more = ('(run (shell "echo more"))', "(copy (src bell.txt) (dst /last/))")
    arguments = _plant(project, 0, *more)
    events = run(obuild, project, arguments)
    assert set(_keys(events, "step-hit")) == {row[0] for row in state.rows}
    added = _keys(events, "step-saved")
    assert len(added) == 2
    top = "ca36042069d30ba9b7c0babe2be98a08143ca3ad38301124a737b492254a4885"
    rows = _rows(store_path)
    assert rows[top][0] == 1
    assert rows[added[0]] == (1, top)
    assert rows[added[1]] == (0, added[0])
    prefix = leftovers.prefix_of(store_path)
    with client.connect(engine_host) as api:
        for key in added:
            assert api.inspect_image(f"{prefix}image-{key}")["Id"]
    assert (store_path / "logs" / f"{added[0]}.log").read_bytes() == b"more\n"
    assert (store_path / "logs" / f"{added[1]}.log").exists()
    # OBuilder's own statements: what it would prune first, and how it marks a hit.
    with sqlite3.connect(store_path / "state" / "db" / "db.sqlite") as connection:
        leaves = connection.execute(
            "SELECT id FROM builds WHERE rc = 0 AND used < '2999-01-01 00:00:00'"
            " ORDER BY used ASC LIMIT 10"
        ).fetchall()
        times = connection.execute("SELECT created, used FROM builds").fetchall()
        connection.execute("UPDATE builds SET used = '2027-01-01 00:00:00' WHERE id = ?", (top,))
    connection.close()
    assert {key for (key,) in leaves} == {key for key, (rc, _) in rows.items() if rc == 0}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", t) for row in times for t in row)
    events = run(obuild, project, arguments)
    assert _keys(events, "step-saved") == []


def test_a_build_that_failed_goes_on_where_it_did(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str, debian_image: str
) -> None:
    state = _state(1, 0)
    recreate(engine_host, store_path, state)
    arguments = _plant(project, 1)
    events = run(obuild, project, arguments)
    assert set(_keys(events, "step-hit")) == {row[0] for row in state.rows}
    assert _keys(events, "step-saved") == []
    [failed] = [event for event in events if event["event"] == "step-failed"]
    assert failed["status"] == 3
    assert failed["key"].startswith("3843f803")
    assert b"cracked" in (store_path / "logs" / f"{failed['key']}.log").read_bytes()
    assert _rows(store_path) == {row[0]: (row[3], row[4]) for row in state.rows}


def test_what_obuilder_left_half_made_is_made_again(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str, debian_image: str
) -> None:
    """An accident of the reference: the image of a copy that failed, and what stands on it."""
    state = _state(2, 1)
    recreate(engine_host, store_path, state)
    events = run(obuild, project, _plant(project, 2))
    saved = _keys(events, "step-saved")
    assert saved[0] == _ACCIDENT
    sound = {row[0] for row in state.rows} - set(saved)
    assert set(_keys(events, "step-hit")) == sound
    assert _rows(store_path).keys() == sound | set(saved)
    assert _rows(store_path)[_ACCIDENT][1] is not None
