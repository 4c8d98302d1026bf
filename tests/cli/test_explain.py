"""``explain``, and what ``run`` says of the same, on real engines, as a user types them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import leftovers
from tests.conftest import Obuild
from tests.setup import client

SPEC = """\
((build dev
  ((from busybox) (shell /bin/sh -c) (run (shell "echo bell > /bell"))))
 (from {base})
 (shell /bin/sh -c)
 (env HOURS {hours})
 (copy (src src) (dst /app/))
 (run {secret}(shell "ls /app; echo $HOURS > /hours"))
 (workdir /app)
 (run (shell "cat /hours")))
"""


class Project:
    """A spec with its context, and obuild in its folder."""

    def __init__(self, obuild: Obuild, folder: Path):
        self.obuild, self.folder = obuild, folder
        (folder / "src").mkdir()
        (folder / "src" / "a.py").write_text("print(1)")
        (folder / "src" / "run.sh").write_text("#!/bin/sh")
        (folder / "token").write_text("t0ken of the first kind")
        self.write()

    def write_small(self, base: str = "busybox") -> None:
        (self.folder / "x.spec").write_text(
            f'((from {base}) (shell /bin/sh -c) (run (shell "true")) (copy (src src) (dst /app/)))'
        )

    def write(self, hours: int = 12, base: str = "busybox", secret: str = "") -> None:
        spec = SPEC.format(hours=hours, base=base, secret=secret)
        (self.folder / "x.spec").write_text(spec)

    def run(self, command: str, *more: str, code: int = 0, **options: Any) -> tuple[str, str]:
        secret = ("--secret", f"token:{self.folder / 'token'}")
        done = self.obuild(command, "x.spec", *secret, *more, cwd=self.folder, **options)
        assert done.returncode == code, done.stderr
        return done.stdout.decode(), done.stderr.decode()

    def explain(self, *more: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("explain", "--json", *more, **options)[0])
        return found

    def misses(self, *more: str, **options: Any) -> dict[int, list[str]]:
        """The reasons of the steps that are not stored, by their numbers."""
        steps = self.explain(*more, **options)["steps"]
        return {
            number: step["reasons"]
            for number, step in enumerate(steps, 1)
            if step["verdict"] != "hit"
        }

    def done(self) -> dict[int, list[str]]:
        """The same, as a build tells it while it does them."""
        events = [
            json.loads(line)
            for line in self.run("run", "--progress", "json", "--jobs", "1")[1].splitlines()
        ]
        return {e["step"]: e["reasons"] for e in events if e["event"] == "step-explained"}


@pytest.fixture
def project(obuild: Obuild, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(obuild, folder)


@pytest.fixture
def base(engine_host: str) -> Iterator[str]:
    """A base image of the test's own, of which there may be several, one after the other."""
    name = "obuild-test/explained:1"
    with client.connect(engine_host) as api:
        api.tag("busybox", *name.split(":"))
    yield name
    with client.connect(engine_host) as api:
        api.remove_image(name)


def _rebuild(host: str, name: str) -> None:
    with client.connect(host) as api:
        container = api.create_container("busybox", ["none"])["Id"]
        try:
            api.commit(container, *name.split(":"), changes=["LABEL round=2"])
        finally:
            api.remove_container(container, v=True)


@pytest.mark.engine
def test_each_kind_of_change(project: Project) -> None:
    """What ``explain`` says before a build is what the build says; then nothing is to say."""
    everything = {number: ["never built here"] for number in (1, 2, 4, 5, 6)}
    assert project.misses() == everything
    assert project.explain()["steps"][2]["reasons"] == ["the same as step 1"]
    assert project.done() == everything
    assert project.misses() == {}
    src = project.folder / "src"
    (src / "a.py").write_text("print(2)")
    (src / "run.sh").chmod(0o755)
    (src / "new").mkdir()
    (src / "new" / "b.py").touch()
    project.write(hours=13)
    told = {
        4: ["src/a.py: content", "src/new: folder added with 1 file", "src/run.sh: now executable"],
        5: ["env HOURS: 12 → 13", "because step 4 changed"],
        6: ["because step 4 changed"],
    }
    assert project.misses() == told
    assert project.done() == told
    assert project.misses() == {}


@pytest.mark.engine
def test_evicted_and_gone(project: Project, store_path: Path, engine_host: str) -> None:
    project.write_small()
    project.run("run")
    keys = [step["key"] for step in project.explain()["steps"]]
    assert project.obuild("delete", keys[1]).returncode == 0
    told = project.misses()
    assert list(told) == [2, 3]
    assert all(reasons[0].startswith("evicted by delete on 20") for reasons in told.values())
    assert project.done() == told
    image = f"{leftovers.prefix_of(store_path)}image-{keys[2]}"
    with client.connect(engine_host) as api:
        api.remove_image(image, force=True)
    assert project.misses() == {3: ["its image is gone from the engine"]}


@pytest.mark.engine
def test_a_base_that_was_rebuilt(project: Project, base: str, engine_host: str) -> None:
    project.write_small(base=base)
    project.run("run")
    project.write_small(base=f"{base} (resolve)")
    project.run("run")
    assert project.misses() == {}
    _rebuild(engine_host, base)
    told = project.misses()
    assert project.done() == told
    assert told.pop(1)[0].startswith(f"base: {base} was rebuilt, sha256:")
    assert told == {number: ["because step 1 changed"] for number in (2, 3)}
    project.write_small(base=base)
    steps = project.explain()["steps"]
    assert [step["verdict"] for step in steps] == ["hit"] * 3
    assert steps[0]["reasons"] == [
        f"base: {base} was rebuilt, but its name counts, not its digest (--pin)"
    ]


@pytest.mark.engine
def test_the_text_and_the_report(project: Project) -> None:
    project.run("run")
    project.write(hours=13)
    out, err = project.run("explain")
    assert err == ""
    lines = out.splitlines()
    assert lines[1].startswith("2  hit      ")
    assert lines[1].endswith('  [dev] (run (shell "echo bell > /bell"))')
    assert lines[5].strip() == "env HOURS: 12 → 13"
    assert lines[7].strip() == "because step 5 changed"
    assert lines[-1] == "6 steps: 4 are stored, 2 would be run"
    spec = project.folder / "x.spec"
    spec.write_text(spec.read_text().replace("cat /hours", "cat /nowhere"))
    _, err = project.run("run", "--explain", "--progress", "plain", code=1)
    assert "\n#5 not cached: env HOURS: 12 → 13\n" in err
    assert "\n#6 not cached: command: cat /hours → cat /nowhere\n" in err
    assert "\n#6 not cached: because step 5 changed\n" in err
    assert "\n  why run  command: cat /hours → cat /nowhere\n" in err


@pytest.mark.engine
def test_nothing_is_changed(project: Project, store_path: Path) -> None:
    """No row is used, no step has another place, and no store is made."""
    project.explain()
    assert not store_path.exists()
    project.run("run")

    def rows() -> list[list[Any]]:
        with sqlite3.connect(store_path / "state" / "db" / "db.sqlite") as database:
            database.execute("UPDATE builds SET used = '2020-01-01 00:00:00'")
            tables = ("builds", "obuild_records", "obuild_places", "obuild_gone", "obuild_values")
            return [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    before = rows()
    project.write(hours=13)
    project.explain()
    with sqlite3.connect(store_path / "state" / "db" / "db.sqlite") as database:
        used = database.execute("SELECT DISTINCT used FROM builds").fetchall()
    assert used == [("2020-01-01 00:00:00",)]
    assert rows() == before


@pytest.mark.engine
def test_no_secret_is_told(project: Project) -> None:
    project.write(secret="(secrets (token (target /run/secrets/token)))")
    project.run("run")
    (project.folder / "token").write_text("t0ken of the second kind")
    assert project.misses()[5] == ["secret token: another value"]
    for words in (*project.run("explain"), *project.run("run", "--explain")):
        assert "t0ken" not in words


def test_without_an_engine(project: Project, store_path: Path) -> None:
    """The environment has none that answers."""
    assert project.misses() == {number: ["never built here"] for number in (1, 2, 4, 5, 6)}
    out, _ = project.run("explain", "--pin")
    assert "(from busybox)" in out
    assert out.splitlines()[-1] == "6 steps: 6 are not known yet"
    assert not store_path.exists()


def test_without_an_engine_but_with_a_store(project: Project, store_path: Path) -> None:
    assert project.obuild("run", "x.spec", cwd=project.folder).returncode == 3
    assert store_path.exists()
    out, _ = project.run("explain")
    assert "\nThe engine was not asked: the Docker daemon at " in out
    assert project.explain()["unasked"].startswith("the Docker daemon at ")


@pytest.mark.parametrize(
    ("spec", "code", "steps"),
    [
        ("((from busybox) (copy (src nope) (dst /)))", 1, 1),
        ("((from busybox) (run))", 2, None),
        ("((from busybox) (run (secrets (other (target /x))) (shell x)))", 1, 1),
    ],
)
def test_errors_of_the_build(project: Project, spec: str, code: int, steps: int | None) -> None:
    """Exit codes of the design's table; what comes before the error is told."""
    (project.folder / "x.spec").write_text(spec)
    done = project.obuild("explain", "x.spec", "--json", cwd=project.folder)
    assert done.returncode == code, done.stderr
    assert b"x.spec:1" in done.stderr
    if steps is None:
        assert done.stdout == b""
    else:
        found = json.loads(done.stdout)
        assert len(found["steps"]) == steps
        assert found["error"]
        assert found["target"] is None


def test_a_store_that_is_none(project: Project, store_path: Path) -> None:
    store_path.write_text("a file")
    done = project.obuild("explain", "x.spec", cwd=project.folder)
    assert done.returncode == 4
    assert b"not a directory" in done.stderr
