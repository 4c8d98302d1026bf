"""What the Docker engine leaves on a daemon, and how it tells its own from others' things."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, Self

import pytest
from docker import APIClient
from docker.errors import ImageNotFound
from requests.exceptions import RequestException

from obuild.engine.docker import DockerEngine
from obuild.engine.docker.attach import open_stream
from obuild.engine.docker.glance import glance
from obuild.errors import (
    BuildError,
    Cancelled,
    EngineError,
    EngineUnavailable,
    ObuildError,
    StepFailed,
    StoreError,
)
from obuild.events import EngineCalled
from obuild.events import Event as AnyEvent
from obuild.progress.calls import shell_line
from tests.engine.bases import Steps, TreeFiles, folder, key_of, plain
from tests.engine.conftest import names_of
from tests.engine.proxy import Proxy

pytestmark = pytest.mark.engine

MakeBase = Callable[..., str]

CHANGES = (
    "ENV A=1",
    'ENTRYPOINT ["/bin/echo"]',
    'CMD ["x", "y z"]',
    "WORKDIR /work",
    "USER 12:34",
    "LABEL some.label=value",
    "VOLUME /data",
    "EXPOSE 80/tcp",
    "HEALTHCHECK --interval=30s CMD true",
    "ONBUILD RUN true",
)


def _inspect(api: APIClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = api.inspect_image(image)  # type: ignore[no-untyped-call]
    return found


def _history(api: APIClient, image: str) -> list[dict[str, Any]]:
    return list(api.history(image))  # type: ignore[no-untyped-call]


def _config(api: APIClient, image: str) -> dict[str, object]:
    found = _inspect(api, image)["Config"]
    # What 20.10 writes besides the image's own fields is the same for every image.
    return {name: value for name, value in found.items() if value}


def test_restore_gives_every_field_of_the_base(
    engine: DockerEngine, steps: Steps, api: APIClient, make_base: MakeBase, prefix: str
) -> None:
    image = make_base(*CHANGES, StopSignal="SIGINT", Shell=["/bin/ash", "-c"])
    base = steps.base(image)
    step = steps.run(base, "mkdir -p /data; echo > /data/f", env=[("B", "2")], workdir="/tmp")
    step = steps.put(step, "/data/", TreeFiles.of((b"g", b"g")))
    engine.restore(step, base)
    assert _config(api, f"{prefix}-image-{step}") == _config(api, image)
    assert _config(api, image)["Volumes"]


def test_restore_leaves_no_image_without_a_name(
    engine: DockerEngine, steps: Steps, base: str, api: APIClient
) -> None:
    parent = steps.run(base, "echo 1 > /f")
    child = steps.run(parent, "echo 2 > /f")
    before = [engine.inspect(key).id for key in (parent, child)]
    engine.restore(parent, base)
    engine.restore(child, base)
    after = [engine.inspect(key).id for key in (parent, child)]
    engine.delete([child, parent])
    for image in (*before, *after):
        with pytest.raises(ImageNotFound):
            _inspect(api, image)


def test_restore_takes_no_name_of_the_user_s(
    engine: DockerEngine, steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    step = steps.run(base, "echo > /f")
    engine.publish(step, f"{prefix}-mine")
    old = engine.inspect(step).id
    engine.restore(step, base)
    engine.delete([])  # waits for what is done beside the build
    assert _inspect(api, f"{prefix}-mine")["Id"] == old != engine.inspect(step).id


def test_a_run_leaves_no_label_and_no_variable_of_its_own(
    steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    step = steps.run(base, "true", env=[("SECRET", "do-not-keep")])
    config = _inspect(api, f"{prefix}-image-{step}")["Config"]
    assert not config["Labels"]
    assert "do-not-keep" not in str(config)


def test_history_of_the_base_stays_and_the_mark_is_last(
    engine: DockerEngine, steps: Steps, base: str, api: APIClient, base_image: str, prefix: str
) -> None:
    step = steps.run(base, "echo > /f")
    engine.restore(step, base)
    history = _history(api, f"{prefix}-image-{step}")
    below = _history(api, base_image)
    assert history[0]["Comment"].split()[0] == "obuild"
    assert [row["CreatedBy"] for row in history][-len(below) :] == [
        row["CreatedBy"] for row in below
    ]
    layers = _inspect(api, f"{prefix}-image-{step}")["RootFS"]["Layers"]
    assert layers[:-1] == _inspect(api, base_image)["RootFS"]["Layers"]


def test_list_sees_the_mark(
    engine: DockerEngine, steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    step = steps.run(base, "echo > /f")
    loaded = steps.put(step, "/d/", TreeFiles.of(*((b"%d" % i, bytes(2000)) for i in range(400))))
    foreign = key_of("foreign")
    container = api.create_container(f"{prefix}-image-{base}", ["x"])["Id"]
    api.commit(container, repository=f"{prefix}-image-{foreign}", tag="latest")
    api.remove_container(container)
    complete = {snapshot.key: snapshot.complete for snapshot in engine.list()}
    assert complete == {base: False, step: True, loaded: True, foreign: False}
    vouched = {snapshot.key: snapshot.complete for snapshot in engine.list([base, step])}
    assert vouched == {base: True, step: True, loaded: True, foreign: False}
    assert engine.sizes().keys() == complete.keys()


def test_sweep_removes_what_died_and_nothing_else(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    image = f"{prefix}-image-{base}"
    alive, dead = key_of("alive"), key_of("dead")
    for key in (alive, dead):
        api.create_container(image, ["true"], name=f"{prefix}-container-{key}")
        api.tag(image, f"{prefix}-image-tmp-{key}")
    api.create_container(image, ["true"], name=f"{prefix}-container-short")
    removed = engine.sweep(lambda key: key == alive)
    assert list(removed) == [
        f"container {prefix}-container-{dead}",
        f"image {prefix}-image-tmp-{dead}:latest",
    ]
    assert names_of(api, prefix) == {
        f"{prefix}-container-{alive}",
        f"{prefix}-container-short",
        f"{prefix}-image-tmp-{alive}:latest",
        f"{image}:latest",
    }


def test_sweep_removes_what_a_commit_left_without_a_name(
    engine: DockerEngine, base: str, api: APIClient, prefix: str, engine_name: str
) -> None:
    """containerd's store names an image last; whose commit is cut short has one without. With
    other stores nobody looks."""
    if not engine_name.endswith("containerd"):
        assert engine.sweep(lambda _: False) == ()
        return
    alive, dead = key_of("alive"), key_of("dead")
    comments = {
        "dead": f"obuild {prefix}-container-{dead}",
        "alive": f"obuild {prefix}-container-{alive}",
        "other store": f"obuild obuilder-0000000-container-{dead}",
        "somebody's": "not obuild's",
    }
    container = api.create_container(f"{prefix}-image-{base}", ["true"])["Id"]
    made = {whose: api.commit(container, message=text)["Id"] for whose, text in comments.items()}
    api.remove_container(container)
    try:
        assert engine.sweep(lambda key: key == alive) == (f"image {made['dead']}",)
        untagged = {row["Id"] for row in api.images(filters={"dangling": True})}
        assert untagged & {*made.values()} == {*made.values()} - {made["dead"]}
    finally:
        for whose in comments.keys() - {"dead"}:
            api.remove_image(made[whose])


def test_sweep_refuses_where_another_is_at_work(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    name = f"{prefix}-container-{key_of('work')}"
    api.create_container(f"{prefix}-image-{base}", ["sleep", "100"], name=name)
    api.start(name)
    try:
        with pytest.raises(StoreError, match=name) as caught:
            engine.sweep(_dead)
        assert "docker rm" in str(caught.value.hint)
        assert engine.sweep(_alive) == ()
        with pytest.raises(StoreError):
            engine.clean()
    finally:
        api.remove_container(name, force=True)


def test_sweep_ends_what_a_killed_obuild_left_running(
    engine: DockerEngine, steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    with _Background(lambda: steps.run(base, "sleep 60")) as work:
        name = _wait_for_container(api, prefix)
        assert engine.sweep(_alive) == ()
        assert list(engine.sweep(_dead)) == [f"container {name}"]
    assert isinstance(work.error, StepFailed | EngineError)


def _alive(key: str) -> bool:
    return bool(key)


def _dead(key: str) -> bool:
    return not key


class _Background:
    """Does something beside the test, and keeps the error it ends with."""

    def __init__(self, work: Callable[[], object]):
        self.error: ObuildError | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except ObuildError as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def _wait_for_container(api: APIClient, prefix: str) -> str:
    for _ in range(100):
        rows = api.containers(filters={"name": [f"^/{prefix}-container-"]})
        if rows:
            return str(rows[0]["Names"][0][1:])
        time.sleep(0.1)
    raise AssertionError("no container of the step runs")


def test_a_second_builder_of_one_step_is_refused(
    steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    cancel = Event()
    with _Background(lambda: steps.run(base, "sleep 61", cancel=cancel)) as work:
        try:
            name = _wait_for_container(api, prefix)
            with pytest.raises(EngineError, match=name):
                steps.run(base, "sleep 61")
            assert api.inspect_container(name)["State"]["Running"]
        finally:
            cancel.set()
    assert isinstance(work.error, Cancelled)


def test_networks(steps: Steps, base: str, api: APIClient) -> None:
    names = [f"obuild-test-net-{key_of('net')[:6]}-{i}" for i in range(2)]
    made = [api.create_network(name)["Id"] for name in names]
    got: list[bytes] = []
    try:
        steps.run(base, "ls /sys/class/net | wc -l", network=names, output=got.append)
    finally:
        steps.engine.close()
        for network in made:
            api.remove_network(network)
    assert got == [b"3\n"]


def test_commands_can_be_repeated(
    engine_host: str, prefix: str, clean_env: dict[str, str], base_image: str
) -> None:
    seen: list[AnyEvent] = []
    verbose = DockerEngine(
        prefix, host=engine_host, environment=clean_env, emit=seen.append, verbose=True
    )
    steps = Steps(verbose)
    base = steps.base(base_image)
    step = steps.run(base, "echo 'a b'", env=[("V", "$x")], workdir="/w")
    verbose.restore(step, base)
    verbose.clean()
    verbose.close()
    lines = [shell_line(event) for event in seen if isinstance(event, EngineCalled)]
    container, image = f"{prefix}-container-{step}", f"{prefix}-image-{step}"
    assert (
        f"docker run -i --name {container} --hostname builder --workdir /w --entrypoint /bin/sh"
        f" --user 0:0 --env 'V=$x' --network none {prefix}-image-{base} -c"
        """ 'echo '"'"'a b'"'"''"""
    ) in lines
    assert any(line.startswith("docker commit ") and line.endswith(image) for line in lines)
    assert f"docker rm --force -- {container}" in lines
    assert any(line.startswith(f"# load {image}: the layers of") for line in lines)
    assert all(line.startswith(("docker ", "# ")) for line in lines if line)


def test_glance(engine_host: str, base: str, prefix: str) -> None:
    names = [f"{prefix}-image-{base}", f"{prefix}-image-{key_of('no')}", f"{prefix}-image-{base}"]
    assert glance(engine_host, {}, names) == [True, False, True]
    assert glance(None, {"DOCKER_HOST": engine_host}, []) == []


def test_engine_that_stops_answering_while_a_command_runs(
    engine_host: str, prefix: str, clean_env: dict[str, str], base: str, steps: Steps
) -> None:
    with Proxy(engine_host) as proxy:
        frozen = DockerEngine(
            prefix, host=proxy.host, environment=clean_env, emit=lambda _: None, timeout=1.0
        )
        threading.Timer(1.5, proxy.freeze).start()
        began = time.monotonic()
        with pytest.raises(EngineUnavailable):
            Steps(frozen).run(base, "sleep 60")
        assert time.monotonic() - began < 20
        frozen.close()
    # What it could not remove is removed by the next sweep.
    assert len(steps.engine.sweep(_dead)) == 1


def test_attaching_has_a_deadline() -> None:
    """The SDK alone would wait for ever."""
    with Proxy(None) as silent:
        api = APIClient(base_url=silent.host, version="1.41", timeout=1)
        began = time.monotonic()
        with pytest.raises(RequestException):
            open_stream(api, "container", {"stdout": 1, "stream": 1})
        assert time.monotonic() - began < 10
        api.close()


def test_large_copy_in_little_memory(steps: Steps, base: str) -> None:
    """More than is ever kept in a file: the stream goes on as it comes."""
    size = 300 << 20

    def make(root: bytes) -> Iterator[bytes]:
        yield folder(root + b"/")
        whole = plain(root + b"/big", b"")
        header = bytearray(whole[:512])
        header[124:136] = b"%011o\0" % size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        yield bytes(header)
        for _ in range(size >> 20):
            yield bytes(1 << 20)

    step = steps.put(base, "/x/", TreeFiles(make))
    assert steps.see(step, "stat -c %s /x/big") == b"%d\n" % size


def test_whiteouts_are_refused(steps: Steps, base: str) -> None:
    with pytest.raises(BuildError, match=r"\.wh\.f"):
        steps.put(base, "/x/", TreeFiles.of((b".wh.f", b"")))
