"""The idle container that lends its empty network, where a daemon makes that pay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker import APIClient

from obuild.engine.docker import DockerEngine
from tests.engine.bases import Steps
from tests.engine.conftest import names_of

pytestmark = pytest.mark.engine

RUNS = 4


@pytest.fixture
def engine(
    engine_host: str, prefix: str, api: APIClient, clean_env: dict[str, str]
) -> Iterator[DockerEngine]:
    made = DockerEngine(
        prefix, host=engine_host, environment=clean_env, visit="s1", emit=lambda _: None
    )
    yield made
    made.clean()
    made.close()
    assert not names_of(api, prefix)


def _pays(api: APIClient) -> bool:
    return bool(api.version()["ApiVersion"] == "1.41")


def _idle(api: APIClient, prefix: str) -> list[str]:
    return [name for name in names_of(api, prefix) if "-idle-" in name]


def test_runs_see_the_same_with_and_without_it(
    steps: Steps, base: str, api: APIClient, prefix: str, engine: DockerEngine
) -> None:
    """An empty network, the hostname, and nothing of the idle container in the image."""
    seen = [
        steps.see(base, f"ls /sys/class/net; hostname; cat /etc/hostname /etc/hosts; : {run}")
        for run in range(RUNS)
    ]
    assert len(set(seen)) == 1
    assert seen[0].startswith(b"lo\nbuilder\nbuilder\n127.0.0.1")
    assert _idle(api, prefix) == ([f"{prefix}-idle-s1"] if _pays(api) else [])


def test_closing_removes_it(
    steps: Steps, base: str, api: APIClient, prefix: str, engine: DockerEngine
) -> None:
    for run in range(RUNS):
        steps.run(base, f": {run}")
    engine.close()
    assert not _idle(api, prefix)


def test_it_is_left_to_its_visit_and_removed_after_it(
    steps: Steps,
    base: str,
    api: APIClient,
    prefix: str,
    engine: DockerEngine,
    engine_host: str,
    clean_env: dict[str, str],
) -> None:
    for run in range(RUNS):
        steps.run(base, f": {run}")
    other = DockerEngine(prefix, host=engine_host, environment=clean_env, emit=lambda _: None)
    assert not [one for one in other.sweep(lambda name: name == "s1") if "-idle-" in one]
    expected = tuple(f"container {name}" for name in _idle(api, prefix))
    assert other.sweep(lambda _: False) == expected
    other.close()
    assert not _idle(api, prefix)
    steps.run(base, "echo still works")


def test_an_image_without_the_shell_pays_and_works(
    steps: Steps, base: str, engine: DockerEngine
) -> None:
    for run in range(RUNS):
        got: list[bytes] = []
        steps.run(base, f"run {run}", shell=("/bin/echo",), output=got.append)
        assert b"".join(got) == f"run {run}\n".encode()
