"""Performing a run: a container of the parent, its output, a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event
from typing import Any

from obuild.engine import Limits, Output, RunCommand, Snapshot, Waiting
from obuild.engine.docker import command
from obuild.engine.docker.attach import attached
from obuild.engine.docker.caches.mounted import Caches
from obuild.engine.docker.config import commit_body, committed
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.containers import NOT_FOUND, container_config, not_started
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.idle import Idle
from obuild.engine.docker.images import Images
from obuild.engine.docker.mounts import host_config
from obuild.engine.docker.parents import Parents
from obuild.engine.docker.secrets.mounted import Secrets, SecretsMounted
from obuild.engine.docker.secrets.traces import Traces
from obuild.errors import Cancelled, EngineError, StepFailed
from obuild.ir.steps import RunStep
from obuild.platforms import Platform

__all__ = ["Runs"]

_PING_AFTER = 5.0
_KILLED = 137


class Runs:
    """Runs steps in containers."""

    def __init__(
        self,
        daemon: Daemon,
        images: Images,
        parents: Parents,
        platform: Callable[[], Platform],
        idle: Idle,
        caches: Caches,
        secrets: Secrets,
        traces: Traces,
    ):
        self._caches = caches
        self._secrets = secrets
        self._traces = traces
        self._idle = idle
        self._daemon = daemon
        self._images = images
        self._parents = parents
        self._platform = platform

    def run(
        self,
        key: str,
        parent: str,
        action: RunCommand,
        output: Output,
        cancel: Event,
        waiting: Waiting,
    ) -> Snapshot:
        """See ``Engine.execute``."""
        step = action.step
        argv = [*(step.shell or self._platform().shell_of_empty), step.cmd]
        name = self._daemon.names.container(key)
        with ExitStack() as stack:
            caches = stack.enter_context(self._caches.mounted(key, step, cancel, waiting))
            image = stack.enter_context(self._parents.quiet(parent, key))
            config = container_config(image, argv, action)
            secrets = stack.enter_context(self._secrets.mounted(key, image, step, cancel))
            if mounts := [*caches.mounts, *secrets.mounts]:
                config["HostConfig"]["Mounts"] = mounts
            shown = command.run_line(name, {**config, "Env": config["Env"] + secrets.shown})
            config["Env"] += secrets.variables
            if step.network in ((), ("none",)):
                self._lend_network(config, image, argv[:-1])
            self._daemon.removals.settle(name)
            self._daemon.say(lambda: shown)
            self._create(name, config, step)
            stack.enter_context(self._daemon.temporary_container(name))
            try:
                self._start(name, argv, step, output, cancel)
                self._check(name, argv, action.limits, cancel)
            except StepFailed:
                # A fault while they are kept must not hide it, nor have the command run again.
                self._daemon.removals.now(caches.keep)
                raise
            caches.keep()
            return self._commit(key, parent, name, step, config, secrets)

    def _lend_network(self, config: dict[str, Any], image: str, shell: Sequence[str]) -> None:
        """A namespace that is as empty as a run's own would be, where that is quicker."""
        mode = self._idle.network(image, shell, host_config("none"))
        if mode != "none":
            config["HostConfig"]["NetworkMode"] = mode
            config["Hostname"] = ""  # that of the container which lends it

    def _create(self, name: str, config: dict[str, Any], step: RunStep) -> None:
        try:
            self._daemon.create(name, config)
            for network in step.network[1:]:
                self._connect(name, network)
        except DaemonError as error:
            raise not_started(error, config["Entrypoint"], step) from error

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
                raise not_started(error, argv, step) from error
            if not stream.pump(output, cancel, quiet):
                raise Cancelled("cancelled")

    def _check(self, name: str, argv: Sequence[str], limits: Limits, cancel: Event) -> None:
        """Wait for the end; raises ``StepFailed`` unless the command succeeded."""
        ended = self._daemon.connection.patiently(lambda api: api.wait(name), cancel)
        status = int(ended["StatusCode"])
        if status:
            raise self._failed(name, argv, status, limits)

    def _failed(self, name: str, argv: Sequence[str], status: int, limits: Limits) -> StepFailed:
        try:
            found = self._daemon.inspect_container(name) or {}
        except EngineError:
            found = {}  # the command has failed, whatever the daemon does now
        state = found.get("State", {})
        message, hint = f"exit status {status}", None
        limit = f" (limit {command.memory(limits.memory)})" if limits.memory else ""
        if state.get("OOMKilled"):
            message = f"killed: out of memory{limit}"
            hint = "give it more memory, or let it do with less"
            if status != _KILLED:  # a child of the command was; that went on
                message += f"; exit status {status}"
        elif status == _KILLED and limit:
            # The daemon hears of it by an event, which may come late or never.
            message = f"killed: exit status {status}, perhaps out of memory{limit}"
            hint = "more memory may help"
        elif status == NOT_FOUND:
            hint = f"127 means: a program was not found in the image; the shell is {argv[:-1]}"
        return StepFailed(message, status=status, command=tuple(argv), hint=hint)

    def _commit(
        self,
        key: str,
        parent: str,
        name: str,
        step: RunStep,
        config: dict[str, Any],
        secrets: SecretsMounted,
    ) -> Snapshot:
        base = self._parents.config(parent, config["Image"])
        body = commit_body(base, [variable for variable, _ in reversed(step.env)])
        made = committed(base, body, config["User"], config["WorkingDir"])
        if not secrets.leave_traces:
            image = self._daemon.commit(name, self._daemon.names.image(key), body)
        else:
            self._daemon.commit(name, self._daemon.names.unfinished(key), body)
            image = self._traces.remove(key, made, secrets, step.workdir)
            self._parents.look_again(key)
        self._images.remember(key, made)
        return Snapshot(key, image)
