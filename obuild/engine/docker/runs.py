"""Performing a run: a container of the parent, its output, a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event, Semaphore
from typing import Any

from obuild.engine import Limits, Output, RunCommand, Snapshot
from obuild.engine.docker import command
from obuild.engine.docker.attach import attached
from obuild.engine.docker.config import commit_body, committed
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.idle import Idle
from obuild.engine.docker.images import Images
from obuild.engine.docker.parents import Parents
from obuild.errors import BuildError, Cancelled, EngineError, StepFailed
from obuild.ir.ops import UnixUser
from obuild.ir.steps import RunStep
from obuild.platforms import Platform

__all__ = ["Runs", "host_config"]

_LOOK = 0.2
_PING_AFTER = 5.0
_KILLED = 137
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_MAX_ID = 2**31 - 1


class Runs:
    """Runs steps in containers, at most ``turns`` at a time."""

    def __init__(
        self,
        daemon: Daemon,
        images: Images,
        parents: Parents,
        platform: Callable[[], Platform],
        turns: Semaphore,
        idle: Idle,
    ):
        self._idle = idle
        self._daemon = daemon
        self._images = images
        self._parents = parents
        self._platform = platform
        self._turns = turns

    def run(
        self, key: str, parent: str, action: RunCommand, output: Output, cancel: Event
    ) -> Snapshot:
        """See ``Engine.execute``."""
        step = action.step
        argv = [*(step.shell or self._platform().shell_of_empty), step.cmd]
        name = self._daemon.names.container(key)
        with ExitStack() as stack:
            image = stack.enter_context(self._parents.quiet(parent, key))
            config = _container_config(image, argv, action)
            shown = command.run_line(name, config)
            if step.network in ((), ("none",)):
                self._lend_network(config, image, argv[:-1])
            self._daemon.removals.settle(name)
            self._take_turn(cancel)
            stack.callback(self._turns.release)
            self._daemon.say(lambda: shown)
            self._create(name, config, step)
            stack.enter_context(self._daemon.temporary_container(name))
            self._start(name, argv, step, output, cancel)
            self._check(name, argv, action.limits, cancel)
            return self._commit(key, parent, name, step, config)

    def _lend_network(self, config: dict[str, Any], image: str, shell: Sequence[str]) -> None:
        """A namespace that is as empty as a run's own would be, where that is quicker."""
        mode = self._idle.network(image, shell, host_config("none"))
        if mode != "none":
            config["HostConfig"]["NetworkMode"] = mode
            config["Hostname"] = ""  # that of the container which lends it

    def _take_turn(self, cancel: Event) -> None:
        while not self._turns.acquire(timeout=_LOOK):
            if cancel.is_set():
                raise Cancelled("cancelled")

    def _create(self, name: str, config: dict[str, Any], step: RunStep) -> None:
        try:
            self._daemon.create(name, config)
            for network in step.network[1:]:
                self._connect(name, network)
        except DaemonError as error:
            raise _not_started(error, config["Entrypoint"], step) from error

    def _connect(self, name: str, network: str) -> None:
        self._daemon.say(lambda: command.line("network", "connect", network, name))
        try:
            self._daemon.connection.ask(lambda api: api.connect_container_to_network(name, network))
        except BaseException:
            self._daemon.removals.now(lambda: self._daemon.remove_container(name))
            raise

    def _start(
        self, name: str, argv: Sequence[str], step: RunStep, output: Output, cancel: Event
    ) -> None:
        """Start the container and pass on its output; ends when nobody writes any more."""
        connection = self._daemon.connection
        pinged = 0.0

        def quiet(seconds: float) -> None:
            nonlocal pinged
            if seconds < pinged:
                pinged = 0.0
            if seconds - pinged > _PING_AFTER:
                connection.ping()
                pinged = seconds

        with connection.client() as api, attached(api, name) as stream:
            self._daemon.removals.begin()
            try:
                connection.patiently(lambda starter: starter.start(name), cancel)
            except DaemonError as error:
                raise _not_started(error, argv, step) from error
            if not stream.pump(output, cancel, quiet):
                raise Cancelled("cancelled")

    def _check(self, name: str, argv: Sequence[str], limits: Limits, cancel: Event) -> None:
        """Wait for the end; raises ``StepFailed`` unless the command succeeded."""
        ended = self._daemon.connection.patiently(lambda api: api.wait(name), cancel)
        status = int(ended["StatusCode"])
        if status:
            raise self._failed(name, argv, status, limits)

    def _failed(self, name: str, argv: Sequence[str], status: int, limits: Limits) -> StepFailed:
        state = self._daemon.connection.ask(lambda api: api.inspect_container(name))["State"]
        message, hint = f"exit status {status}", None
        if state.get("OOMKilled") or (status == _KILLED and limits.memory):
            limit = f" (limit {command.memory(limits.memory)})" if limits.memory else ""
            message = f"killed: out of memory{limit}"
            hint = "give it more memory, or let it do with less"
        elif status == _NOT_FOUND:
            hint = f"127 means: a program was not found in the image; the shell is {argv[:-1]}"
        return StepFailed(message, status=status, command=tuple(argv), hint=hint)

    def _commit(
        self, key: str, parent: str, name: str, step: RunStep, config: dict[str, Any]
    ) -> Snapshot:
        base = self._images.config(parent)
        body = commit_body(base, [variable for variable, _ in reversed(step.env)])
        image = self._daemon.names.image(key)
        made = self._daemon.commit(name, image, body)
        self._images.remember(key, committed(base, body, config["User"], config["WorkingDir"]))
        return Snapshot(key, made)


def host_config(network: str) -> dict[str, Any]:
    """No log is kept by the daemon. The option of the log driver means nothing to Docker: it
    tells obuild's containers from others, where a label would end in the committed image."""
    return {"NetworkMode": network, "LogConfig": {"Type": "none", "Config": {"obuild": "1"}}}


def _container_config(image: str, argv: list[str], action: RunCommand) -> dict[str, Any]:
    step, limits = action.step, action.limits
    network = step.network[0] if step.network else "none"
    host = host_config(network)
    if limits.cpus is not None:
        host["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.memory is not None:
        host["Memory"] = limits.memory
    if limits.isolation is not None:
        host["Isolation"] = limits.isolation
    user = step.user
    variables = [f"{name}={value}" for name, value in reversed(step.env)]
    owner = f"{user.uid}:{user.gid}" if isinstance(user, UnixUser) else user.name
    _check_step(step)
    _check_text([*argv, *variables, step.workdir, owner, *step.network])
    return {
        "Image": image,
        "Entrypoint": argv,
        "Cmd": [],
        "Env": variables,
        "User": owner,
        "WorkingDir": step.workdir,
        # A container in another's network namespace has that one's hostname.
        "Hostname": "" if network.startswith("container:") else step.hostname,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }


def _check_step(step: RunStep) -> None:
    """What no container can have. The daemon would say so too, in words of its own."""
    user = step.user
    if isinstance(user, UnixUser) and not all(0 <= n <= _MAX_ID for n in (user.uid, user.gid)):
        raise BuildError(
            f"there can be no user {user.uid}:{user.gid} in a container",
            hint=f"uids and gids go from 0 to {_MAX_ID}",
        )
    if any(not name for name, _ in step.env):
        raise BuildError("a variable of the environment has no name", hint="see the (env …) above")
    if len(step.network) > 1 and {"host", "none"} & {*step.network}:
        raise BuildError(
            f"a container cannot have the networks {', '.join(step.network)} at once",
            hint="host and none stand alone",
        )


def _check_text(texts: Sequence[str]) -> None:
    """The API speaks JSON, which cannot hold other bytes than UTF-8; nor can arguments hold
    a NUL."""
    for text in texts:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            raise BuildError(
                f"Docker cannot take a text that is not UTF-8, or has a NUL: {shown!r}",
                hint="write the bytes in the command's own way, as printf '\\377'",
            )


def _not_started(error: DaemonError, argv: Sequence[str], step: RunStep) -> Exception:
    """What a refusal to create or start the container means for the user.

    The words are those of dockerd and runc; the status alone does not tell these apart.
    """
    words = error.words.lower()
    command_ = tuple(argv)
    missing = "no such file or directory" in words and f'exec: "{argv[0].lower()}"' in words
    if missing or "executable file not found" in words:
        return StepFailed(
            f"the program {argv[0]} is missing in the image",
            status=_NOT_FOUND,
            command=command_,
            hint="choose a program that the image has, as (shell /bin/sh -c)",
        )
    if "permission denied" in words and "exec" in words:
        return StepFailed(
            f"the user may not execute {argv[0]} in the image",
            status=_NOT_EXECUTABLE,
            command=command_,
        )
    if "unable to find user" in words or "unable to find group" in words:
        return BuildError(f"the image has no such user or group: {error.words}")
    if "network" in words and "not found" in words:
        asked = ", ".join(step.network)
        return EngineError(f"there is no network {asked}", hint="see `docker network ls`")
    return error
