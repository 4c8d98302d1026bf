"""``prune``, ``delete``, ``clean`` and ``df`` on real engines, also beside running builds."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from obuild.store import Store
from tests import leftovers
from tests.conftest import Obuild
from tests.setup import client

pytestmark = pytest.mark.engine

SPEC = """\
((from busybox)
 (shell /bin/sh -c)
 (run (shell "head -c 3000000 /dev/urandom > /one"))
 (run (shell "head -c 2000000 /dev/urandom > /two"))
 (run (shell "head -c 1000000 /dev/urandom > /three")))
"""
LONG = """(run (shell "trap 'exit 0' USR1; echo started; while :; do sleep 0.1; done"))"""
_ALL = ("--before", "2999-01-01")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "simple.spec").write_text(SPEC)
    return folder


def build(obuild: Obuild, project: Path, spec: str = "simple.spec") -> str:
    done = obuild("run", "-q", spec, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def rows(obuild: Obuild) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in json.loads(obuild("ls", "--json").stdout)}


def prune(obuild: Obuild, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """What goes and what stays; the whole report under ``report``."""
    done = obuild("prune", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return {
        "goes": [step for step in report["steps"] if step["goes"]],
        "stays": [step for step in report["steps"] if not step["goes"]],
        "report": [report],
    }


def keys(steps: list[dict[str, Any]]) -> list[str]:
    return [step["key"] for step in steps]


def chain(obuild: Obuild, result: str) -> list[str]:
    """The result and what it stands on, down to the base."""
    found = rows(obuild)
    order: list[str] = []
    step: str | None = result
    while step is not None:
        order.append(step)
        step = found[step]["parent"]
    return order


def age(store: Path, which: list[str], days: int) -> None:
    """As if these had last been used that many days ago."""
    with sqlite3.connect(store / "state" / "db" / "db.sqlite") as connection:
        for key in which:
            connection.execute(
                "UPDATE builds SET used = datetime('now', ?) WHERE id = ?", (f"-{days} days", key)
            )
    connection.close()


def images(host: str, store: Path) -> set[str]:
    start = f"{leftovers.prefix_of(store)}image-"
    return {
        name.removeprefix(start).removesuffix(":latest")
        for kind, name in leftovers.objects(host)
        if kind == "image" and name.startswith(start)
    }


@contextmanager
def running(obuild: Obuild, *arguments: str | Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A build that has come to its long step."""
    process = obuild.start(*arguments, cwd=cwd)
    try:
        assert process.stderr is not None
        seen = b""
        while b"started" not in seen.replace(b"echo started", b""):
            chunk = os.read(process.stderr.fileno(), 65536)
            assert chunk, seen
            seen += chunk
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def test_pruning_goes_from_the_leaves_and_says_why(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    result = build(obuild, project)
    order = chain(obuild, result)
    told = prune(obuild, "--dry-run", *_ALL)
    assert keys(told["goes"]) == order
    assert not any(step["removed"] for step in told["goes"])
    assert images(engine_host, store_path) == set(order)
    told = prune(obuild, "--max", "1")
    assert keys(told["goes"]) == [result]
    assert told["goes"][0]["removed"]
    assert {step["reason"] for step in told["stays"]} == {
        "1 go already",
        f"{order[1][:12]} stands on it",
        f"{order[2][:12]} stands on it",
    }
    assert set(rows(obuild)) == images(engine_host, store_path) == set(order[1:])
    assert not (store_path / "logs" / f"{result}.log").exists()
    with Store.open(str(store_path)) as store:
        [gone] = store.records_on(order[1])
    assert gone.key == result
    assert gone.gone.startswith("prune on 2")
    again = obuild("run", "simple.spec", cwd=project)
    assert b"3 cached, 1 built" in again.stderr


def test_pruning_in_words(obuild: Obuild, project: Path) -> None:
    result = build(obuild, project)
    done = obuild("prune", "--max", "1", *_ALL)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"removes {result[:12]}  last used ")
    assert "1 MB" in lines[0]
    assert "(run " in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["keeps"] * 3
    assert lines[-1] == "1 of 4 steps removed, 1 MB; 5 MB in steps stay"
    done = obuild("prune", "--dry-run", *_ALL)
    assert done.stdout.count(b"would remove ") == 3
    assert done.stdout.endswith(b"3 of 3 steps would be removed, 5 MB; 0 B in steps stay\n")


def test_pruning_leaves_the_base_image_and_nothing_without_a_name(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str, base_image: str
) -> None:
    build(obuild, project)
    with client.connect(engine_host) as api:
        base = api.inspect_image(base_image)["Id"]
        made = {
            row["Id"] for row in api.images(filters={"reference": [f"{_prefix(store_path)}*"]})
        } - {base}
    assert len(made) == 3
    assert len(prune(obuild, *_ALL)["goes"]) == 4
    assert rows(obuild) == {}
    with client.connect(engine_host) as api:
        assert api.inspect_image(base_image)["Id"] == base
        left = {row["Id"] for row in api.images(all=True)}
    assert not left & made


def _prefix(store: Path) -> str:
    return leftovers.prefix_of(store)


def test_a_month_without_use_is_the_default(
    obuild: Obuild, project: Path, store_path: Path
) -> None:
    result = build(obuild, project)
    assert prune(obuild)["goes"] == []
    order = chain(obuild, result)
    age(store_path, order[:2], 31)
    age(store_path, order[2:], 29)
    told = prune(obuild)
    assert keys(told["goes"]) == order[:2]
    assert all(
        "used since " in step["reason"] or "stands" in step["reason"] for step in told["stays"]
    )
    assert keys(prune(obuild, "--before", "28d")["goes"]) == order[2:]


def test_storage_is_what_df_counts(obuild: Obuild, project: Path) -> None:
    result = build(obuild, project)
    order = chain(obuild, result)
    assert json.loads(obuild("df", "--json").stdout)["sums"]["steps"] > 5_500_000
    assert prune(obuild, "--keep-storage", "100m")["goes"] == []
    told = prune(obuild, "--keep-storage", "5500000")
    assert keys(told["goes"]) == order[:1]
    [report] = told["report"]
    sums = json.loads(obuild("df", "--json").stdout)["sums"]
    assert sums["steps"] == report["left"] <= 5_500_000
    assert keys(prune(obuild, "--keep-storage", "0")["goes"])[:2] == order[1:3]
    assert json.loads(obuild("df", "--json").stdout)["sums"]["steps"] == 0


def test_df_adds_up(obuild: Obuild, project: Path, store_path: Path) -> None:
    result = build(obuild, project)
    found = json.loads(obuild("df", "--json").stdout)
    steps = {step["key"]: step for step in found["steps"]}
    order = chain(obuild, result)
    assert set(steps) == set(order)
    for step in steps.values():
        assert step["own"] + step["shared"] == step["total"]
    for child, parent in itertools.pairwise(order):
        assert steps[child]["shared"] == steps[parent]["total"]
    assert [step["key"] for step in found["steps"] if step["base"]] == [order[-1]]
    sums = found["sums"]
    assert sums["steps"] == sum(steps[key]["own"] for key in order[:-1])
    assert sums["steps"] == steps[result]["total"] - steps[order[-1]]["total"]
    assert sums["total"] == sum(size for name, size in sums.items() if name != "total")
    assert sums["logs"] == sum(p.stat().st_size for p in (store_path / "logs").iterdir())
    assert sums["database"] > 0
    text = obuild("df").stdout.decode()
    assert "3 steps" in text
    assert "in all" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--before", "yesterday"),
        ("--before", "2026-13-01"),
        ("--max", "-1"),
        ("--max", "x"),
        ("--keep-storage", "lots"),
    ],
    ids=" ".join,
)
def test_bad_conditions(arguments: tuple[str, ...], obuild: Obuild, project: Path) -> None:
    build(obuild, project)
    done = obuild("prune", *arguments)
    assert done.returncode == 2
    assert arguments[1].encode() in done.stderr
    assert len(rows(obuild)) == 4


def test_pruning_beside_a_running_build(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    """What the build found long ago stored, made, or stands on stays; what it has nothing to
    do with goes, though all of it is long out of use."""
    other = '((from busybox) (shell /bin/sh -c) (run (shell "echo other > /other")))'
    (project / "other.spec").write_text(other)
    nested = f'((build side {SPEC}) {other[1:-1]} (run (shell "echo more")) {LONG})'
    (project / "nested.spec").write_text(nested.replace("/other", "/mine"))
    apart = build(obuild, project, "other.spec")
    side = build(obuild, project)
    before = chain(obuild, side)
    age(store_path, list(rows(obuild)), 100)
    with running(obuild, "run", "nested.spec", cwd=project) as process:
        # Whatever it stands on: before its end nothing but what was there marks it as used.
        told = prune(obuild, *_ALL)
        assert keys(told["goes"]) == [apart]
        assert {step["reason"] for step in told["stays"] if step["key"] == side} == {
            "in use by a running build"
        }
        assert set(before) <= set(rows(obuild))
        assert set(rows(obuild)) == images(engine_host, store_path)
        refused = obuild("delete", side)
        assert refused.returncode == 4
        assert b"obuild prune works beside it" in refused.stderr
        _go_on(engine_host, store_path)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert keys(prune(obuild, "--dry-run", *_ALL)["stays"]) == []


def _go_on(host: str, store: Path) -> None:
    """End the long step of a running build."""
    with client.connect(host) as api:
        [container] = api.containers(filters={"name": f"{_prefix(store)}container"})
        api.kill(container["Id"], "SIGUSR1")


def test_what_the_user_has_in_use_stays(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    """A container of the user's keeps its image: said, and the step is still a hit."""
    result = build(obuild, project)
    name = f"{_prefix(store_path)}image-{result}"
    with client.connect(engine_host) as api:
        container = api.create_container(name, ["/bin/sleep", "60"])["Id"]
        try:
            api.start(container)
            told = prune(obuild, *_ALL)
            assert told["goes"] == []
            reasons = {step["key"]: step["reason"] for step in told["stays"]}
            assert "container" in reasons[result] or "in use" in reasons[result]
            assert b"all cached" in obuild("run", "simple.spec", cwd=project).stderr
            assert rows(obuild)[result]["parent"] is not None
        finally:
            api.remove_container(container, force=True)
    assert len(prune(obuild, *_ALL)["goes"]) == 4


def test_delete_says_first_what_it_would_take_along(
    obuild: Obuild, project: Path, store_path: Path
) -> None:
    result = build(obuild, project)
    order = chain(obuild, result)
    done = obuild("delete", "--dry-run", order[1])
    assert [line.split()[2] for line in done.stdout.decode().splitlines()] == order[:2]
    assert len(rows(obuild)) == 4
    assert obuild("delete", order[1]).stdout.count(b"Removing") == 2
    assert list(rows(obuild))
    assert set(rows(obuild)) == set(order[2:])
    with Store.open(str(store_path)) as store:
        [gone] = store.records_on(order[2])
    assert gone.gone.startswith("delete on ")


def test_clean_takes_caches_and_all_volumes_along(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    (project / "cache.spec").write_text(
        "((from busybox) (shell /bin/sh -c)"
        ' (run (cache (wax (target /wax))) (shell "echo stick > /wax/stick")))'
    )
    build(obuild, project, "cache.spec")
    df = json.loads(obuild("df", "--json").stdout)
    assert [cache["id"] for cache in df["caches"]] == ["wax"]
    dry = obuild("clean", "--dry-run")
    assert dry.stdout.count(b"Would remove ") == 3
    assert b"cache wax" in dry.stdout
    assert len(rows(obuild)) == 2
    done = obuild("clean")
    assert done.returncode == 0, done.stderr
    assert rows(obuild) == {}
    prefix = _prefix(store_path)
    assert not [name for _, name in leftovers.objects(engine_host) if name.startswith(prefix)]
    with Store.open(str(store_path)) as store:
        assert store.records_on(None) == []


# Databases that are damaged or gone


def _database(store: Path) -> Path:
    return store / "state" / "db" / "db.sqlite"


def _garbage(store: Path) -> None:
    _database(store).write_bytes(b"this is no database\n" * 5000)


def _half(store: Path) -> None:
    data = _database(store).read_bytes()
    _database(store).write_bytes(data[: len(data) // 2])


def _pages(store: Path) -> None:
    data = _database(store).read_bytes()
    _database(store).write_bytes(data[:8192] + os.urandom(len(data) - 8192))


def _tables(store: Path) -> None:
    connection = sqlite3.connect(_database(store))
    connection.executescript("DROP TABLE builds; CREATE TABLE builds (name TEXT)")
    connection.close()


@pytest.mark.parametrize("damage", [_garbage, _half, _pages, _tables])
def test_a_damaged_database_is_made_anew_of_the_engine(
    damage: Callable[[Path], None],
    obuild: Obuild,
    project: Path,
    store_path: Path,
    engine_host: str,
) -> None:
    result = build(obuild, project)
    order = chain(obuild, result)
    with Store.open(str(store_path)) as store:
        before = store.store_id
    damage(store_path)
    listed = obuild("ls")
    assert listed.returncode == 4
    assert b"the next `obuild run`" in listed.stderr.lower()
    done = obuild("run", "simple.spec", cwd=project)
    assert done.returncode == 0, done.stderr
    assert b"damaged" in done.stderr
    assert b"3 stored steps of the engine's taken over" in done.stderr
    # The base is the user's own image under another name and bears no mark: named again.
    assert b"3 cached, 1 built" in done.stderr
    assert result.encode() in done.stdout
    kept = list(_database(store_path).parent.glob("db.sqlite.corrupt-*Z"))
    assert len(kept) == 1
    with Store.open(str(store_path)) as store:
        assert store.store_id == before
    again = obuild("run", "simple.spec", cwd=project)
    assert b"all cached" in again.stderr
    assert b"damaged" not in again.stderr
    assert chain(obuild, result) == order
    assert images(engine_host, store_path) == set(order)


@pytest.mark.parametrize("command", ["df", "prune"])
def test_other_commands_mend_it_too(
    command: str, obuild: Obuild, project: Path, store_path: Path
) -> None:
    build(obuild, project)
    _garbage(store_path)
    done = obuild(command)
    assert done.returncode == 0, done.stderr
    assert b"damaged" in done.stderr
    assert len(rows(obuild)) == 3


@pytest.mark.parametrize("what", ["database", "everything"])
def test_a_store_that_was_deleted(
    what: str, obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    result = build(obuild, project)
    _delete(store_path, what)
    done = obuild("run", "simple.spec", cwd=project)
    assert done.returncode == 0, done.stderr
    assert b"3 stored steps of the engine's taken over" in done.stderr
    assert result.encode() in done.stdout
    assert set(rows(obuild)) == images(engine_host, store_path)
    assert len(rows(obuild)) == 4


def _delete(store: Path, what: str) -> None:
    import shutil

    if what == "everything":
        shutil.rmtree(store)
    else:
        for path in _database(store).parent.iterdir():
            path.unlink()


@pytest.mark.parametrize("what", ["database", "everything", "garbage"])
def test_a_store_that_goes_while_a_build_runs(
    what: str, obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    """The build that runs may fail, and says why; the next one works and leaves nothing."""
    long = LONG.replace("while :; do sleep 0.1; done", "sleep 3")
    (project / "long.spec").write_text(f"{SPEC.rstrip()[:-1]}\n {long})")
    build(obuild, project)
    with running(obuild, "run", "long.spec", cwd=project) as process:
        if what == "garbage":
            _garble_in_use(store_path)
        else:
            _delete(store_path, what)
        assert process.stderr is not None
        _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 3, 4), err
    assert b"Traceback" not in err
    if what == "garbage":
        assert process.returncode == 4
        assert b"damaged" in err
    done = obuild("run", "long.spec", cwd=project)
    assert done.returncode == 0, done.stderr
    assert len(rows(obuild)) == 5
    assert set(rows(obuild)) == images(engine_host, store_path)
    assert b"all cached" in obuild("run", "long.spec", cwd=project).stderr
    left = leftovers.objects(engine_host)
    assert not [name for _, name in left if name.startswith(f"{_prefix(store_path)}container")]


def _garble_in_use(store: Path) -> None:
    """Such that whoever has it open meets it: what others wrote is not in his memory."""
    connection = sqlite3.connect(_database(store))
    with connection:
        connection.execute("UPDATE builds SET used = used")
    for path in (_database(store), _database(store).with_name("db.sqlite-wal")):
        with path.open("r+b") as stream:
            stream.write(b"x" * path.stat().st_size)
    connection.close()


# Another store of the same path


def test_a_store_of_another_machine_on_this_daemon(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    """Two clients, one daemon, equal paths: neither touches what is the other's."""
    volume = f"{_prefix(store_path)}libexec"
    labels = {"obuild.store": "0123", "obuild.machine": "4567"}
    with client.connect(engine_host) as api:
        api.create_volume(volume, labels=labels)
        done = obuild("run", "simple.spec", cwd=project)
        assert done.returncode == 4
        assert b"belong to another machine" in done.stderr
        assert f"docker volume rm {volume}".encode() in done.stderr
        assert api.inspect_volume(volume)["Labels"] == labels
        api.remove_volume(volume)
    assert obuild("run", "simple.spec", cwd=project).returncode == 0


def test_another_store_at_the_same_path(
    obuild: Obuild, project: Path, store_path: Path, tmp_path: Path, engine_host: str
) -> None:
    result = build(obuild, project)
    elsewhere = tmp_path / "elsewhere"
    other = {"OBUILD_STORE": f"docker:{elsewhere}"}
    try:
        assert obuild("run", "simple.spec", cwd=project, env=other).returncode == 0
        store_path.rename(tmp_path / "first")
        elsewhere.rename(store_path)
        (project / "new.spec").write_text('((from busybox) (shell /bin/sh -c) (run (shell "new")))')
        for command in (["run", str(project / "new.spec")], ["df"], ["clean"], ["prune"]):
            done = obuild(*command)
            assert done.returncode == 4, command
            assert b"belong to another store" in done.stderr
        assert result in images(engine_host, store_path)
        store_path.rename(elsewhere)
        (tmp_path / "first").rename(store_path)
        assert b"all cached" in obuild("run", "simple.spec", cwd=project).stderr
    finally:
        start = _prefix(elsewhere)
        found = leftovers.objects(engine_host)
        leftovers.remove(engine_host, {entry for entry in found if entry[1].startswith(start)})
