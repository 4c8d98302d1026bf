"""Fixtures: engines by name, their images, a registry, stores, obuild as a program.

A test that takes ``engine_host``, or bears ``@pytest.mark.engine``, runs once on every
engine of the run (``tests/engines.py`` says how they are chosen). Where there is none it is
skipped with the reason, under CI it fails.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests import engines, leftovers
from tests.program import Obuild
from tests.setup import client, images
from tests.setup import registry as registries
from tests.setup.daemons import Daemon
from tests.setup.shell import SetupError

_ROOT = Path(__file__).resolve().parent.parent
_NONE = "no-engine"


def pytest_configure() -> None:
    """Ctrl-C is tested: no child may be born deaf to it, as children of a shell's background
    jobs are."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of engines runs on all of them, one engine after the other."""
    marked = metafunc.definition.get_closest_marker("engine") is not None
    if marked and "engine_under_test" not in metafunc.fixturenames:
        metafunc.fixturenames.insert(0, "engine_under_test")
    if "engine_under_test" in metafunc.fixturenames:
        every = metafunc.definition.get_closest_marker("contract") is not None
        chosen = [name for name in _chosen() if every or name != engines.NATIVE]
        names = [pytest.param(name, marks=pytest.mark.engine) for name in chosen or [_NONE]]
        metafunc.parametrize("engine_under_test", names, indirect=True, scope="session")


def _chosen() -> list[str]:
    try:
        return engines.chosen()
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error


def give_up(reason: str) -> NoReturn:
    """A test that cannot be run here: skipped, but under CI an error."""
    if engines.under_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine_under_test(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[engines.Engine]:
    """An engine of the run, with busybox on it; afterwards nothing else may be on it."""
    if request.param == _NONE:
        reason = "no Docker engine answers: start one, or name some in OBUILD_TEST_ENGINES"
        give_up(reason)
    try:
        engine = engines.ensure(request.param)
        if engine.name == engines.NATIVE:
            yield engine
            return
        images.ensure_busybox(engine.host)
    except SetupError as error:
        pytest.fail(f"{request.param}: {error}")
    before = leftovers.objects(engine.host)
    yield engine
    new = leftovers.objects(engine.host) - before
    if engine.daemon is None and not engines.under_ci():
        # Somebody may be at work on this engine meanwhile; only what is surely ours counts.
        ours = (*leftovers.prefixes_below(tmp_path_factory.getbasetemp()), "obuild-test/")
        new = {entry for entry in new if entry[1].startswith(ours)}
    assert not new, f"the tests left on {engine.name}: {sorted(new)}"


@pytest.fixture
def engine_host(engine_under_test: engines.Engine) -> str:
    """Where the engine answers, as DOCKER_HOST wants it."""
    return engine_under_test.host


@pytest.fixture
def engine_name(engine_under_test: engines.Engine) -> str:
    return engine_under_test.name


@pytest.fixture
def docker_env(engine_host: str, clean_env: dict[str, str]) -> dict[str, str]:
    """An environment for subprocesses in which the engine is the default one."""
    return {**clean_env, "DOCKER_HOST": engine_host}


@pytest.fixture
def base_image(engine_host: str) -> str:
    """An image with busybox and nothing else: no bash."""
    if not engine_host:  # a store of the native engine, which has it from the beginning
        return "busybox"
    assert images.has(engine_host, images.BUSYBOX)
    return images.BUSYBOX.removesuffix(":latest")


@pytest.fixture
def debian_image(engine_under_test: engines.Engine) -> str:
    """A real Debian, with bash, tar, coreutils and apt."""
    try:
        images.ensure_debian(engine_under_test.host)
    except SetupError as error:
        pytest.fail(str(error))
    return images.DEBIAN


@pytest.fixture(scope="session")
def registry(
    engine_under_test: engines.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """``HOST:PORT`` of an empty registry that the engine can reach; http, no password."""
    listener = client.process_of(engine_under_test.host)
    if listener is None:
        reason = f"{engine_under_test.host} cannot reach a registry of this machine's loopback"
        give_up(reason)
    with registries.serve(tmp_path_factory.mktemp("registry"), listener) as address:
        yield address


@pytest.fixture
def own_engine(engine_under_test: engines.Engine) -> Iterator[Callable[[], Daemon]]:
    """Starts an engine of this test's own, of the same kind, with busybox on it.

    For tests that stop or kill daemons, prune, or fill a disk: ``own_engine()`` gives a
    ``Daemon`` with ``host``, ``stop()``, ``kill()`` (as a power cut), ``start()``, ``pid()``
    of dockerd, ``state_folder``, ``log``.
    """
    started: list[Daemon] = []

    def start() -> Daemon:
        name = f"own-{os.getpid()}-{len(started) + 1}"
        try:
            daemon = engines.daemon_of(engine_under_test.name, name)
            started.append(daemon)
            daemon.start()
            images.ensure_busybox(daemon.host)
        except SetupError as error:
            if engine_under_test.name == "docker" and not engines.under_ci():
                pytest.skip(f"no engine of the test's own: {error}")
            pytest.fail(str(error))
        return daemon

    yield start
    for daemon in started:
        daemon.remove()


@pytest.fixture
def clean_env(tmp_path: Path) -> dict[str, str]:
    """A small environment with a home of its own. No engine answers in it."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {
        "PATH": path,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        "DOCKER_HOST": f"unix://{home}/no-engine.sock",
    }


@pytest.fixture
def store_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder for a store that does not exist yet.

    Afterwards all its objects are removed from the engine (if the test uses one) and it is
    seen that they are gone.
    """
    path = tmp_path / "store"
    host = _host_of(request)
    yield path
    if host is not None:
        prefix = leftovers.prefix_of(path)
        leftovers.remove(host, _of_prefix(host, prefix))
        remaining = _of_prefix(host, prefix)
        assert not remaining, f"cannot be removed from the engine: {sorted(remaining)}"


def _host_of(request: pytest.FixtureRequest) -> str | None:
    if request.node.get_closest_marker("engine") is None:
        return None
    engine = request.getfixturevalue("engine_under_test")
    assert isinstance(engine, engines.Engine)
    return engine.host


def _of_prefix(host: str, prefix: str) -> set[tuple[str, str]]:
    return {entry for entry in leftovers.objects(host) if entry[1].startswith(prefix)}


@pytest.fixture
def obuild(request: pytest.FixtureRequest, clean_env: dict[str, str], store_path: Path) -> Obuild:
    """Runs obuild as a program: ``obuild("run", FILE, …, cwd=…, env=…, timeout=…, stdin=…)``.

    The engine of the test (if it uses one) is the default, the store is ``store_path``.
    """
    environ = {**clean_env, "OBUILD_STORE": f"docker:{store_path}"}
    host = _host_of(request)
    return Obuild(environ if host is None else {**environ, "DOCKER_HOST": host})
