"""``python -m tests.setup COMMAND``: what the Makefile runs, with the environment's Python.

hello            an engine that answers, and the base image of ``corpus/hello``
test [ARG…]      the engines of the run, their images, then pytest with the arguments
up [NAME…]       start engines and leave them running; prints a DOCKER_HOST for each
down [NAME…]     stop engines of the tests' own
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests import engines
from tests.setup import client, default, images, native, registry
from tests.setup.daemons import Daemon
from tests.setup.shell import SetupError, end_in_good_order, say

__all__ = ["main"]

_PULL_DEADLINE = 20


def main(arguments: list[str]) -> int:
    commands = {"hello": hello, "test": test, "up": up, "down": down}
    if not arguments or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](arguments[1:])
    except SetupError as error:
        say(str(error))
        return 1


def hello(_arguments: list[str]) -> int:
    version = default.ensure_default()
    images.ensure_busybox(client.default_host(), pull_deadline=_PULL_DEADLINE)
    say(f"Docker {version} answers at {client.default_host()}")
    return 0


def test(arguments: list[str]) -> int:
    names = engines.chosen() or ["docker20"]
    mine: list[Daemon] = []
    try:
        for name in names:
            if name == engines.NATIVE:
                native.ensure()
                continue
            before = engines.running(name)
            engine = engines.ensure(name)
            if engine.daemon and not before:
                mine.append(engine.daemon)
            say(f"{name}: Docker {engine.version} at {engine.host}")
            images.ensure_busybox(engine.host)
            images.ensure_debian(engine.host)
        registry.program()
        environ = {**os.environ, "OBUILD_TEST_ENGINES": ",".join(names)}
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, check=False
        ).returncode
    finally:
        for daemon in mine:
            daemon.stop()


def up(arguments: list[str]) -> int:
    for name in arguments or engines.chosen() or ["docker20"]:
        engine = engines.ensure(name)
        images.ensure_busybox(engine.host)
        images.ensure_debian(engine.host)
        print(f"DOCKER_HOST={engine.host}  # {name}, Docker {engine.version}")
    return 0


def down(arguments: list[str]) -> int:
    for name in arguments or list(engines.ALL):
        daemon = engines.running(name)
        if daemon is not None:
            daemon.stop()
            say(f"{name} is stopped")
    return 0


if __name__ == "__main__":
    end_in_good_order()
    sys.exit(main(sys.argv[1:]))
