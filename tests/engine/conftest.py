"""An engine with a prefix of its own, and base images made for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex

import pytest
from docker import APIClient

from obuild.engine.docker import DockerEngine
from tests import engines
from tests.engine.bases import Steps
from tests.setup import client

MakeBase = Callable[..., str]


@pytest.fixture
def prefix() -> str:
    return f"obuilder-{token_hex(4)[:7]}"


@pytest.fixture
def api(engine_host: str) -> Iterator[APIClient]:
    """The daemon itself, to look at what the engine did to it."""
    connected = client.connect(engine_host)
    yield connected
    connected.close()


@pytest.fixture
def engine(
    engine_under_test: engines.Engine, prefix: str, api: APIClient, clean_env: dict[str, str]
) -> Iterator[DockerEngine]:
    """Afterwards everything of the prefix is gone, and nothing was left without a name (where
    nobody else may be at work on the same engine)."""
    alone = engine_under_test.daemon is not None or engines.under_ci()
    before = _untagged(api)
    made = DockerEngine(
        prefix, host=engine_under_test.host, environment=clean_env, emit=lambda _: None
    )
    yield made
    made.clean()
    made.close()
    assert not names_of(api, prefix)
    if alone:
        assert _untagged(api) <= before


@pytest.fixture
def steps(engine: DockerEngine) -> Steps:
    return Steps(engine)


@pytest.fixture
def base(steps: Steps, base_image: str) -> str:
    """The key of a plain base with busybox."""
    return steps.base(base_image)


@pytest.fixture
def make_base(api: APIClient, base_image: str) -> Iterator[MakeBase]:
    """Makes an image of ``base_image`` with lines of a Dockerfile, and fields as the Engine API
    writes them, set in its configuration."""
    made = []

    def make(*changes: str, **fields: object) -> str:
        name = f"obuild-test/{token_hex(6)}"
        container = api.create_container(base_image, ["none"])["Id"]
        try:
            api.commit(container, repository=name, tag="latest", changes=list(changes), conf=fields)
        finally:
            api.remove_container(container, v=True)
        made.append(name)
        return name

    yield make
    for name in made:
        api.remove_image(name)


def names_of(api: APIClient, prefix: str) -> set[str]:
    """Everything on the daemon whose name has the prefix."""
    found = {name[1:] for row in api.containers(all=True) for name in row["Names"]}
    found |= {tag for row in api.images() for tag in row.get("RepoTags") or ()}
    found |= {row["Name"] for row in api.volumes()["Volumes"] or ()}
    return {name for name in found if name.startswith(prefix)}


def _untagged(api: APIClient) -> set[str]:
    return {row["Id"] for row in api.images(filters={"dangling": True})}
