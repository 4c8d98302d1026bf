from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import engines, leftovers
from tests.setup import client, images
from tests.setup.daemons import Daemon
from tests.setup.shell import SetupError


def test_named_engines_are_the_runs() -> None:
    environ = {"OBUILD_TEST_ENGINES": " docker20, docker28-classic,", "CI": "true"}
    assert engines.chosen(environ) == ["docker20", "docker28-classic"]


def test_ci_takes_all_engines() -> None:
    assert engines.chosen({"CI": "true"}) == [*engines.ALL, engines.NATIVE]
    assert engines.chosen({"CI": "true", "OBUILD_TEST_ENGINES": ""}) == [
        *engines.ALL,
        engines.NATIVE,
    ]


def test_unknown_engine_is_an_error() -> None:
    with pytest.raises(SetupError, match="'docker29'"):
        engines.chosen({"OBUILD_TEST_ENGINES": "docker20,docker29"})


@pytest.mark.parametrize("value", ["", "0", "false", "no"])
def test_ci_can_be_denied(value: str) -> None:
    assert not engines.under_ci({"CI": value})


def test_prefixes_are_those_of_the_store() -> None:
    golden = Path(__file__).parent / "golden" / "prefix" / "prefix.json"
    cases = [c for c in json.loads(golden.read_text())["cases"] if c.get("how") == "formula"]
    assert cases
    for case in cases:
        path = Path(case["real_path"])
        if path.resolve() == path:
            assert leftovers.prefix_of(path) == f"{case['prefix']}-"


@pytest.mark.engine
def test_engine_is_of_its_name(engine_name: str, engine_host: str) -> None:
    version = client.version(engine_host)
    assert version is not None
    if engine_name == "docker20":
        assert version.startswith("20.10.")
    if engine_name.startswith("docker28"):
        assert int(version.partition(".")[0]) >= 28


@pytest.mark.engine
def test_engine_keeps_images_where_its_name_says(engine_name: str, engine_host: str) -> None:
    api = client.connect(engine_host)
    status = dict(api.info().get("DriverStatus") or [])
    api.close()
    kept_by_containerd = "io.containerd.snapshotter.v1" in status.values()
    if engine_name != "docker":
        assert kept_by_containerd == engine_name.endswith("containerd")


@pytest.mark.engine
def test_base_image_runs(engine_host: str, base_image: str) -> None:
    assert _run(engine_host, base_image, ["sh", "-c", "id -u; ls -d /tmp; which bash"]) == (
        b"0\n/tmp\n"
    )


@pytest.mark.engine
def test_debian_image_has_bash_and_tar(engine_host: str, debian_image: str) -> None:
    code = "tar --version | head -1; . /etc/os-release; echo $VERSION_ID"
    assert re.match(
        rb"tar \(GNU tar\).*\n12\n$", _run(engine_host, debian_image, ["bash", "-c", code])
    )


@pytest.mark.engine
def test_registry_takes_and_gives(engine_host: str, base_image: str, registry: str) -> None:
    api = client.connect(engine_host)
    name = f"{registry}/obuild-test/base"
    try:
        api.tag(base_image, name, "1")
        assert "sha256:" in api.push(name, "1")
        api.remove_image(f"{name}:1")
        assert "Downloaded" in api.pull(name, "1")
    finally:
        api.remove_image(f"{name}:1")
        api.close()


@pytest.mark.engine
def test_own_engine_comes_back_after_a_power_cut(own_engine: Callable[[], Daemon]) -> None:
    daemon = own_engine()
    assert _run(daemon.host, "busybox", ["echo", "1"]) == b"1\n"
    before = daemon.pid()
    daemon.kill()
    assert client.version(daemon.host, deadline=2) is None
    assert daemon.pid() is None
    daemon.start()
    assert daemon.pid() not in (None, before)
    assert _run(daemon.host, "busybox", ["echo", "2"]) == b"2\n"


@pytest.mark.engine
def test_leftovers_are_seen_and_removed(
    engine_host: str, base_image: str, store_path: Path
) -> None:
    prefix = leftovers.prefix_of(store_path)
    before = leftovers.objects(engine_host)
    api = client.connect(engine_host)
    api.create_volume(f"{prefix}v")
    api.create_container(base_image, ["sleep", "60"], name=f"{prefix}c")
    api.tag(base_image, f"{prefix}i", "latest")
    api.create_network(f"{prefix}n")
    api.close()
    new = {entry for entry in leftovers.objects(engine_host) - before if prefix in entry[1]}
    assert new == {
        ("volume", f"{prefix}v"),
        ("container", f"{prefix}c"),
        ("image", f"{prefix}i:latest"),
        ("network", f"{prefix}n"),
    }
    leftovers.remove(engine_host, new)
    assert not {e for e in leftovers.objects(engine_host) if e[1].startswith(prefix)}


def test_busybox_root_is_the_same_every_time() -> None:
    first, second = images.busybox_root(), images.busybox_root()
    assert first.getvalue() == second.getvalue()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as tar:
        assert tar.getmember("bin/sh").linkname == "busybox"
        assert tar.getmember("tmp").mode == 0o1777


def _run(host: str, image: str, command: list[str]) -> bytes:
    api = client.connect(host)
    container = api.create_container(image, command)["Id"]
    try:
        api.start(container)
        api.wait(container)
        logs: bytes = api.logs(container)
        return logs
    finally:
        api.remove_container(container, force=True)
        api.close()
