"""Performing a run: an overlay of the parent, a runtime, the layer that it leaves."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Event
from typing import Any

from obuild.engine import Cancel, Limits, Output, RunCommand, Waiting
from obuild.engine.native import cgroups, runtime
from obuild.engine.native.caches import Caches, Mounted
from obuild.engine.native.calls import Calls
from obuild.engine.native.containers import check_step, container_config
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.records import Layer, Record
from obuild.engine.native.runtime import Failure, Runtime
from obuild.engine.secretfiles import SecretFile, read_secrets
from obuild.errors import EngineError, EngineUnavailable, ObuildError, StepFailed
from obuild.ir.ops import UnixUser
from obuild.ir.steps import RunStep
from obuild.platforms import LINUX
from obuild.values import replace

__all__ = ["Runs"]

_NOT_FOUND = 127


class Runs:
    """Runs steps. ``search`` is the PATH on which the runtime is looked for."""

    def __init__(
        self,
        layout: Layout,
        layers: Layers,
        calls: Calls,
        caches: Caches,
        prefix: str,
        search: str,
    ):
        self._caches = caches
        self._layout = layout
        self._layers = layers
        self._calls = calls
        self._prefix = prefix
        self._search = search

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime of this host. Raises ``EngineUnavailable``."""
        return runtime.find(
            self._attempt,
            search=self._search,
            kept=self._layout.runtime,
            rootless=not self._calls.root,
            hybrid=self._cgroups.hybrid,
        )

    @cached_property
    def _cgroups(self) -> cgroups.Cgroups:
        return cgroups.find()

    def run(
        self,
        key: str,
        parent: Record,
        action: RunCommand,
        work: str,
        output: Output,
        cancel: Cancel,
        waiting: Waiting,
    ) -> Record:
        """The record of the result, which is not written yet; its layer, made in ``work``, is
        kept."""
        step = action.step
        argv = [*(step.shell or LINUX.shell_of_empty), step.cmd]
        check_step(step, argv)
        cgroups.require(self._cgroups, action.limits, rootless=not self._calls.root)
        below = self._layers.below(parent, key)
        group = f"{self._prefix}-{key}"
        secrets = read_secrets(step, LINUX)
        with self._caches.mounted(step, work, cancel, waiting) as caches:
            config = container_config(
                parent,
                action,
                argv,
                rootless=not self._calls.root,
                cgroup=self._cgroup(group, action.limits),
                caches=caches.mounts,
                secrets=secrets,
                memory=f"{work}/memory",
            )
            status, log, size = self._perform(
                work, below, config, secrets, caches, output, cancel, group
            )
            failure = runtime.explain(self.runtime, log, argv)
            if failure is not None:
                raise _not_started(failure, argv, log)
            if status < 0:
                raise EngineError(
                    f"{self.runtime.name} was killed by signal {-status}",
                    hint="run the build again",
                )
            if status != 0:
                failed = self._failed(status, argv, action.limits, group)
                try:
                    caches.keep()
                except ObuildError as error:  # it must not hide why the step failed
                    failed.hint = (
                        f"{failed.hint or ''} its caches are lost: {error.message}".strip()
                    )
                raise failed
            caches.keep()
            name = self._layers.keep(work)
            cgroups.remove(self._cgroups, group)
        layer = Layer(name, None, size, step.cmd)
        return replace(below, layers=(*below.layers, layer), stack=(*below.stack, name))

    def _cgroup(self, group: str, limits: Limits) -> str | None:
        return cgroups.step_path(group, limits) if self.runtime.cgroups else None

    def check(self, record: Record | None) -> None:
        """Start a container of an image, or the smallest one, which does nothing. Raises
        ``EngineUnavailable`` or ``EngineError`` if it does not work."""
        if record is None:
            if problem := self._attempt(self.runtime):
                raise EngineUnavailable(f"no container can be started: {problem}")
            return
        step = RunStep("/", UnixUser(0, 0), (), ":", LINUX.shell_of_empty, ())
        with self._layers.making("health") as work:
            argv = [*step.shell, step.cmd]
            group = f"{self._prefix}-health"
            config = container_config(
                record,
                RunCommand(step),
                argv,
                rootless=not self._calls.root,
                cgroup=self._cgroup(group, Limits()),
            )
            _, log, _ = self._perform(
                work, record, config, (), Mounted(), lambda _: None, Event(), group
            )
            failure = runtime.explain(self.runtime, log, argv)
            cgroups.remove(self._cgroups, group)
            if failure is not None and failure.status is None:
                raise EngineError(failure.message)

    def _perform(
        self,
        work: str,
        below: Record,
        config: Mapping[str, Any],
        secrets: Sequence[SecretFile],
        caches: Mounted,
        output: Output,
        cancel: Cancel,
        group: str,
    ) -> tuple[int, str, int]:
        for folder in ("bundle", "memory"):
            os.mkdir(f"{work}/{folder}")
        log = f"{work}/log"
        wanted = {
            "layers": self._layout.layers,
            "stack": below.stack,
            "work": work,
            "config": config,
            "runtime": runtime.command(
                self.runtime, os.path.basename(work), state=f"{work}/bundle/state", log=log
            ),
            "hidden": self.runtime.hidden,
            "log": log,
            "files": {
                str(number): {
                    "content": secret.value.hex(),
                    "uid": secret.uid,
                    "gid": secret.gid,
                    "mode": secret.mode,
                }
                for number, secret in enumerate(secrets)
                if secret.target is not None
            },
            "secrets": {secret.target: secret.id for secret in secrets if secret.target},
            "overlays": caches.overlays,
            "fills": caches.fills,
            "kept": [mount.target for mount in caches.mounts],
        }
        try:
            with self._calls.call("run", wanted, cancel, receive=True) as call:
                for piece in call.output():
                    output(piece)
                answer = call.answer()
        except BaseException:
            cgroups.remove(self._cgroups, group)
            raise
        return answer["status"], answer["log"], answer["size"]

    def _failed(self, status: int, argv: list[str], limits: Limits, group: str) -> StepFailed:
        message, hint = f"exit status {status}", None
        spent = cgroups.exhausted(self._cgroups, group, limits)
        cgroups.remove(self._cgroups, group)
        if spent:
            assert limits.memory is not None
            message = f"killed: out of memory (limit {_size(limits.memory)})"
            hint = "give it more memory, or let it do with less"
        elif status == _NOT_FOUND:
            hint = f"127 means: a program was not found in the image; the shell is {argv[:-1]}"
        return StepFailed(message, status=status, command=tuple(argv), hint=hint)

    def _attempt(self, candidate: Runtime) -> str:
        """See ``runtime.Attempt``."""
        with self._layers.making("probe") as work:
            os.mkdir(f"{work}/bundle")
            config = runtime.probe(
                f"{work}/layer/fs",
                platform.machine(),
                rootless=not self._calls.root,
                prefix=self._prefix,
            )
            log = f"{work}/log"
            os.rename(f"{work}/layer/fs/rootfs", f"{work}/layer/root")
            os.rmdir(f"{work}/layer/fs")
            os.rename(f"{work}/layer/root", f"{work}/layer/fs")
            said: list[bytes] = []
            wanted = {
                "layers": self._layout.layers,
                "stack": [],
                "work": work,
                "config": config,
                "runtime": runtime.command(
                    candidate, os.path.basename(work), state=f"{work}/bundle/state", log=log
                ),
                "hidden": candidate.hidden,
                "log": log,
                "files": {},
                "secrets": {},
                "overlays": [],
                "fills": [],
                "kept": [],
            }
            with self._calls.call("run", wanted, receive=True) as call:
                said.extend(call.output())
                answer = call.answer()
            if answer["status"] == 0:
                return ""
            words = b"".join(said).decode("utf-8", "replace").strip()
            return words or answer["log"].strip() or f"status {answer['status']}"


def _not_started(failure: Failure, argv: list[str], log: str) -> Exception:
    if failure.status == _NOT_FOUND:
        return StepFailed(
            f"the program {argv[0]} is missing in the image",
            status=_NOT_FOUND,
            command=tuple(argv),
            hint="choose a program that the image has, as (shell /bin/sh -c)",
        )
    if failure.status is not None:
        return StepFailed(failure.message, status=failure.status, command=tuple(argv))
    return EngineError(failure.message, hint=f"the runtime says: {log.strip()[:500]}")


def _size(number: int) -> str:
    for unit in ("", "k", "m", "g"):
        if number % 1024 or unit == "g":
            return f"{number}{unit}"
        number //= 1024
    return str(number)
