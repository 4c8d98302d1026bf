"""Bases from a real registry: pulled when missing, pinned, fetched anew on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Obuild
from tests.setup import client

pytestmark = pytest.mark.engine


@dataclass(frozen=True, slots=True)
class Remote:
    """An image in a registry, under ``name``; ``push`` puts another one there."""

    host: str
    name: str

    def push(self, label: str) -> None:
        """A new image: busybox with a label, so that its digest differs."""
        repository, _, tag = self.name.rpartition(":")
        with client.connect(self.host) as api:
            made = api.create_container("busybox", ["true"])
            api.commit(made["Id"], repository, tag, changes=[f"LABEL round={label}"])
            api.remove_container(made["Id"])
            for line in api.push(repository, tag, stream=True, decode=True):
                assert "error" not in line, line
            self.forget()

    def forget(self) -> None:
        """Remove the image, under all its names, from the engine."""
        repository = self.name.rpartition(":")[0]
        with client.connect(self.host) as api:
            while images := api.images(repository):  # a tag may take its digest along
                names = [*(images[0]["RepoTags"] or []), *(images[0]["RepoDigests"] or [])]
                name = next(name for name in names if name.startswith(repository))
                api.remove_image(name, force=True)


@pytest.fixture
def remote(registry: str, engine_host: str, tmp_path: Path) -> Iterator[Remote]:
    made = Remote(engine_host, f"{registry}/obuild-test/base:1")
    made.push("first")
    (tmp_path / "x.spec").write_text(
        f'((from {made.name}) (shell /bin/sh -c) (run (shell "echo hi > /hi")))'
    )
    yield made
    made.forget()


def test_a_missing_base_is_pulled(remote: Remote, obuild: Obuild, tmp_path: Path) -> None:
    done = obuild("run", "x.spec", "--progress", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(event["event"] == "pull-progress" for event in events)
    assert obuild("run", "x.spec", cwd=tmp_path).stdout == done.stdout


def test_pinning_is_writing_the_digest_into_the_name(
    remote: Remote, obuild: Obuild, tmp_path: Path
) -> None:
    plain = obuild("run", "-q", "x.spec", cwd=tmp_path).stdout
    pinned = obuild("run", "-q", "x.spec", "--pin", cwd=tmp_path)
    assert pinned.returncode == 0, pinned.stderr
    assert pinned.stdout != plain
    with client.connect(remote.host) as api:
        digest = api.inspect_image(remote.name)["RepoDigests"][0].rpartition("@")[2]
    spec = (tmp_path / "x.spec").read_text().replace(remote.name, f"{remote.name}@{digest}")
    (tmp_path / "written.spec").write_text(spec)
    written = obuild("run", "-q", "written.spec", cwd=tmp_path)
    assert written.stdout == pinned.stdout


def test_pulling_sees_what_is_new_and_nothing_else_does(
    remote: Remote, obuild: Obuild, tmp_path: Path
) -> None:
    first = obuild("run", "-q", "x.spec", "--pull", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = obuild("run", "x.spec", "--pull", cwd=tmp_path)
    assert b"all cached" in again.stderr
    remote.push("second")
    plain = obuild("run", "-q", "x.spec", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    second = obuild("run", "-q", "x.spec", "--pull", cwd=tmp_path)
    assert second.stdout != first.stdout


def test_an_image_that_was_never_in_a_registry_has_nothing_to_pin(
    obuild: Obuild, tmp_path: Path, engine_host: str, base_image: str
) -> None:
    (tmp_path / "x.spec").write_text(f"((from {base_image}))")
    with client.connect(engine_host) as api:
        digests = api.inspect_image(base_image)["RepoDigests"]
    done = obuild("run", "x.spec", "--pin", cwd=tmp_path)
    if digests:  # the containerd image store gives every image a digest
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 3
        assert b"no digest" in done.stderr


def test_a_tag_that_is_not_there(remote: Remote, obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text(f"((from {remote.name}x))")
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == 3
    assert remote.name.encode() in done.stderr
    assert b"x.spec:1:2" in done.stderr or b"x.spec:1" in done.stderr


def test_another_platform_than_the_image_has(
    remote: Remote, obuild: Obuild, tmp_path: Path
) -> None:
    done = obuild("run", "x.spec", "--platform", "linux/s390x", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert b"s390x" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_registry_that_is_not_there(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text("((from localhost:1/nothing:1))")
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == 3
    assert b"localhost:1/nothing:1" in done.stderr
    assert b"Traceback" not in done.stderr
