"""Secrets of runs: files while the command runs, and no trace of them anywhere after it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from threading import Event, Timer

import pytest
from docker import APIClient

from obuild.engine import RunCommand
from obuild.engine.docker import DockerEngine
from obuild.errors import Cancelled, StepFailed
from obuild.events import EngineCalled
from obuild.events import Event as Told
from obuild.ir.ops import Cache
from tests.engine.bases import Steps, key_of
from tests.engine.conftest import MakeBase, names_of
from tests.engine.test_contract_secrets import VALUE, run, secret, step

pytestmark = pytest.mark.engine


def files_of(api: APIClient, engine: DockerEngine, key: str, prefix: str) -> dict[str, bytes]:
    """All regular files of a snapshot by name, and folders with a slash behind."""
    engine._daemon.removals.settle()
    name = f"{prefix}-container-look"
    config = {"Image": f"{prefix}-image-{key}", "Entrypoint": ["none"]}
    container = api.create_container_from_config(config, name)["Id"]
    try:
        stream = io.BytesIO(b"".join(api.export(container)))
    finally:
        api.remove_container(container)
    with tarfile.open(fileobj=stream) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            name = member.name + ("/" if member.isdir() else "")
            found[name] = content.read() if content else b""
    return found


def test_the_secret_is_in_memory_where_the_image_has_a_shell(
    engine: DockerEngine, base: str
) -> None:
    _, got = run(engine, base, step("grep ' /s ' /proc/mounts", secret("/s")))
    assert got.startswith(b"tmpfs /s tmpfs ro")


def test_nothing_remains(
    engine: DockerEngine, base: str, api: APIClient, prefix: str, tmp_path: Path
) -> None:
    """No value and no mount point in any layer; what the run itself made is there."""
    cmd = (
        "cat /a/b/code /run/two > /dev/null; echo out > /out; mkdir -p /run/mine; touch /run/mine/x"
    )
    before = files_of(api, engine, base, prefix)
    key, _ = run(engine, base, step(cmd, secret("/a/b/code"), secret("/run/two")))
    after = files_of(api, engine, key, prefix)
    assert {name for name in after if name not in before} == {
        "out",
        "run/",
        "run/mine/",
        "run/mine/x",
    }
    saved = b"".join(api.get_image(f"{prefix}-image-{key}"))
    assert VALUE not in saved
    assert VALUE not in json.dumps(api.inspect_image(f"{prefix}-image-{key}")).encode()
    assert VALUE not in json.dumps(api.history(f"{prefix}-image-{key}")).encode()
    engine._daemon.removals.settle()
    assert not [name for name in names_of(api, prefix) if "-secrets-" in name or "tmp" in name]


def test_folders_that_are_wanted_stay(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    """The workdir, and what a cache is mounted at, as OBuilder leaves them."""
    its = step(
        "pwd",
        secret("/w/code"),
        secret("/c/in/code"),
        workdir="/w",
        caches=(Cache("a", "/c"),),
    )
    key, _ = run(engine, base, its)
    found = files_of(api, engine, key, prefix)
    assert {"w/", "c/"} <= set(found)
    assert not {"w/code", "c/in/"} & set(found)


def test_a_secret_as_variable(
    engine: DockerEngine, base: str, api: APIClient, prefix: str, base_image: str
) -> None:
    its = step('echo "$CODE"; cat /run/code', secret("/run/code", env="CODE"))
    key, got = run(engine, base, its)
    assert got == VALUE + b"\n" + VALUE
    only, got = run(engine, base, step('echo "$CODE"; ls /', secret("", env="CODE")))
    assert got.startswith(VALUE)
    for made in (key, only):
        assert VALUE not in json.dumps(api.inspect_image(f"{prefix}-image-{made}")).encode()
        assert VALUE not in b"".join(api.get_image(f"{prefix}-image-{made}"))
        engine.restore(made, base)
        config = api.inspect_image(f"{prefix}-image-{made}")["Config"]
        assert config["Env"] == api.inspect_image(base_image)["Config"]["Env"]


def test_the_image_may_set_the_variable_too(
    engine: DockerEngine, steps: Steps, make_base: MakeBase, api: APIClient, prefix: str
) -> None:
    parent = steps.base(make_base("ENV CODE=public"))
    key, got = run(engine, parent, step('echo "$CODE"', secret("/s", env="CODE")))
    assert got == VALUE + b"\n"
    assert "CODE=public" in api.inspect_image(f"{prefix}-image-{key}")["Config"]["Env"]


@pytest.fixture
def told(engine: DockerEngine) -> list[Told]:
    """Every call of the engine, as -v shows it."""
    found: list[Told] = []
    engine._daemon._emit = found.append
    engine._daemon._verbose = True
    return found


def test_no_value_where_others_look(
    engine: DockerEngine,
    base: str,
    api: APIClient,
    prefix: str,
    told: list[Told],
) -> None:
    """Neither in a configuration, an argument or an environment while it runs, nor with -v."""
    its = step("echo; sleep 2; cat /s", secret("/s"), secret("/t", b"another-0ne", env="T"))
    seen: list[str] = []

    def look(_: bytes) -> None:
        if not seen:
            for row in api.containers(all=True, filters={"name": prefix}):
                inspected = api.inspect_container(row["Id"])
                inspected["Config"]["Env"] = [
                    one for one in inspected["Config"]["Env"] or () if not one.startswith("T=")
                ]
                seen.append(json.dumps(inspected))
            seen.append(json.dumps(api.volumes()))
            for process in Path("/proc").iterdir():
                for name in ("cmdline", "environ"):
                    try:
                        content = (process / name).read_bytes()
                    except OSError:
                        continue
                    seen.append(content.replace(b"T=another-0ne", b"").decode("latin-1"))

    key = key_of("looked at")
    engine.execute(key, base, RunCommand(its), look, Event())
    assert seen
    assert not [text for text in seen if VALUE.decode() in text or "another-0ne" in text]
    calls = [repr(call) for call in told if isinstance(call, EngineCalled)]
    assert any("secrets" in call for call in calls)
    assert not [call for call in calls if VALUE.decode() in call or "another-0ne" in call]
    assert VALUE.decode() not in repr(its)


def test_an_image_without_a_shell(
    engine: DockerEngine, steps: Steps, make_base: MakeBase, base: str, api: APIClient, prefix: str
) -> None:
    """A static program and nothing else: then the values lie on the disk meanwhile."""
    only, _ = run(engine, base, step("cp /bin/busybox /cat; rm -r /bin /etc /lib* /usr || :"))
    assert "bin/sh" not in files_of(api, engine, only, prefix)
    its = step("/run/code", secret("/run/code"), shell=("/cat",))
    key, got = run(engine, only, its)
    assert got == VALUE
    assert "run/code" not in files_of(api, engine, key, prefix)
    assert not [name for name in names_of(api, prefix) if "-secrets-" in name]


def test_nothing_stays_when_it_fails_or_is_cancelled(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    with pytest.raises(StepFailed):
        run(engine, base, step("cat /s; exit 3", secret("/s")))
    cancel = Event()
    Timer(1.5, cancel.set).start()
    with pytest.raises(Cancelled):
        run(engine, base, step("sleep 60", secret("/s")), cancel)
    engine._daemon.removals.settle()
    left = names_of(api, prefix) - {f"{prefix}-image-{base}:latest"}
    assert not left


def test_sweep_removes_what_a_killed_one_left(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    key = key_of("killed")
    name = f"{prefix}-secrets-{key}"
    api.create_volume(name)
    config = {
        "Image": "busybox",
        "Entrypoint": ["sleep", "60"],
        "HostConfig": {
            "Binds": [f"{name}:/v"],
            "LogConfig": {"Type": "none", "Config": {"obuild": "1"}},
        },
    }
    api.start(api.create_container_from_config(config, name)["Id"])
    assert engine.sweep(lambda one: one == key) == ()
    assert engine.sweep(lambda _: False) == (f"container {name}", f"volume {name}")
    # One of the same run that nobody swept is in nobody's way.
    it = step("cat /s", secret("/s"))
    api.create_volume(f"{prefix}-secrets-{key_of(repr((base, it)))}")
    assert run(engine, base, it)[1] == VALUE
