"""An engine with a prefix of its own, and base images made for one test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from docker import APIClient

from obuild.engine import Engine, Lock
from obuild.engine.docker import DockerEngine
from obuild.engine.native import NativeEngine
from obuild.engine.native.records import read_all
from obuild.store.locks import Locks
from tests import engines
from tests.engine.bases import Steps
from tests.engine.natives import make_native, native_base_maker
from tests.setup import client

MakeBase = Callable[..., str]
MakeEngine = Callable[[], Any]


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
    engine_under_test: engines.Engine, prefix: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Engine]:
    """Afterwards everything of the prefix is gone, and nothing was left without a name (where
    nobody else may be at work on the same engine)."""
    if engine_under_test.name == engines.NATIVE:
        yield from _native(tmp_path / "store", prefix)
        return
    api = request.getfixturevalue("api")
    alone = engine_under_test.daemon is not None or engines.under_ci()
    before = _untagged(api)
    environment = request.getfixturevalue("clean_env")
    made = DockerEngine(
        prefix, host=engine_under_test.host, environment=environment, emit=lambda _: None
    )
    yield made
    made.clean()
    made.close()
    assert not names_of(api, prefix)
    if alone:
        assert _untagged(api) <= before


def _native(store: Path, prefix: str) -> Iterator[NativeEngine]:
    """Afterwards there is nothing but the images: no layer of a step, no mount, no group."""
    made = make_native(store, prefix)
    yield made
    made.clean()
    named = {name for _, image in read_all(f"{store}/native/images") for name in image.stack}
    assert set(os.listdir(store / "native/layers")) - {"empty"} == named
    assert os.listdir(store / "native/work") == []
    made.close()
    assert str(store) not in Path("/proc/self/mountinfo").read_text("utf-8")
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"/{prefix}" in path]
    assert groups == []


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Lock]:
    """Real locks of a store."""
    folder = os.open(tmp_path, os.O_RDONLY)
    yield Locks(folder, str(tmp_path)).hold
    os.close(folder)


@pytest.fixture
def make_engine(
    engine_under_test: engines.Engine,
    prefix: str,
    lock: Lock,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[MakeEngine]:
    """Makes engines of one store, as several processes have them."""
    if engine_under_test.name == engines.NATIVE:
        yield from _natives(tmp_path / "store", prefix, lock)
        return
    api = request.getfixturevalue("api")
    environment = request.getfixturevalue("clean_env")
    made: list[DockerEngine] = []

    def make() -> DockerEngine:
        one = DockerEngine(
            prefix,
            host=engine_under_test.host,
            environment=environment,
            visit="v1",
            lock=lock,
            emit=lambda _: None,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
    last = make()
    last.clean()
    last.close()
    assert not names_of(api, prefix)


def _natives(store: Path, prefix: str, lock: Lock) -> Iterator[MakeEngine]:
    with contextmanager(_native)(store, prefix):
        made: list[NativeEngine] = []

        def make() -> NativeEngine:
            search = os.environ["PATH"]
            made.append(NativeEngine.of_this_user(str(store), prefix, search=search, lock=lock))
            return made[-1]

        yield make
        for one in made:
            one.close()


@pytest.fixture
def steps(engine: Engine) -> Steps:
    return Steps(engine)


@pytest.fixture
def base(steps: Steps, base_image: str) -> str:
    """The key of a plain base with busybox."""
    return steps.base(base_image)


@pytest.fixture
def make_base(
    engine: Engine, base_image: str, request: pytest.FixtureRequest
) -> Iterator[MakeBase]:
    """Makes an image of ``base_image`` with lines of a Dockerfile, and fields as the Engine API
    writes them, set in its configuration."""
    if isinstance(engine, NativeEngine):
        yield native_base_maker(engine)
        return
    api: APIClient = request.getfixturevalue("api")
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
