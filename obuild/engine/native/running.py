"""Performing a run: an overlay of the parent, a runtime, the layer that it leaves."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cached_property
from threading import Event
from typing import Any

from obuild.engine import Cancel, Limits, Output, RunCommand
from obuild.engine.native import cgroups, runtime
from obuild.engine.native.bundle import HOST_NETWORK, NO_NETWORK, Mount, oci_config
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.records import Layer, Record
from obuild.engine.native.runtime import Failure, Runtime
from obuild.engine.native.seccomp import profile
from obuild.errors import BuildError, EngineError, EngineUnavailable, StepFailed
from obuild.ir.ops import NamedUser, UnixUser
from obuild.ir.steps import RunStep
from obuild.platforms import LINUX
from obuild.source import readable
from obuild.values import replace

__all__ = ["Runs"]

_PATH = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_MAX_ID = 2**31 - 1
_NOT_FOUND = 127
_CGROUP = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["ro", "nosuid", "noexec", "nodev"],
}
"""Where limits are, programs look for them."""
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")


class Runs:
    """Runs steps. ``search`` is the PATH on which the runtime is looked for."""

    def __init__(self, layout: Layout, layers: Layers, calls: Calls, prefix: str, search: str):
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
        self, key: str, parent: Record, action: RunCommand, output: Output, cancel: Cancel
    ) -> Record:
        """The record of the result, which is not written yet; its layer is kept."""
        step = action.step
        argv = [*(step.shell or LINUX.shell_of_empty), step.cmd]
        _check(step, argv)
        cgroups.require(self._cgroups, action.limits, rootless=not self._calls.root)
        below = self._layers.below(parent, key)
        group = f"{self._prefix}-{key}"
        with self._layers.making(key) as work:
            config = self._config(parent, action, argv, group)
            status, log, size = self._perform(work, below, config, output, cancel, group)
            failure = runtime.explain(self.runtime, log, argv)
            if failure is not None:
                raise _not_started(failure, argv, log)
            if status != 0:
                raise self._failed(status, argv, action.limits, group)
            name = self._layers.keep(work)
            cgroups.remove(self._cgroups, group)
        layer = Layer(name, None, size, step.cmd)
        return replace(below, layers=(*below.layers, layer), stack=(*below.stack, name))

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
            config = self._config(record, RunCommand(step), argv, group)
            _, log, _ = self._perform(work, record, config, lambda _: None, Event(), group)
            failure = runtime.explain(self.runtime, log, argv)
            cgroups.remove(self._cgroups, group)
            if failure is not None and failure.status is None:
                raise EngineError(failure.message)

    def _perform(
        self,
        work: str,
        below: Record,
        config: Mapping[str, Any],
        output: Output,
        cancel: Cancel,
        group: str,
    ) -> tuple[int, str, int]:
        os.makedirs(f"{work}/bundle/rootfs")
        os.mkdir(f"{work}/state")
        log = f"{work}/log"
        wanted = {
            "layers": self._layout.layers,
            "stack": below.stack,
            "work": work,
            "config": config,
            "runtime": runtime.command(
                self.runtime, os.path.basename(work), state=f"{work}/state", log=log
            ),
            "hidden": self.runtime.hidden,
            "log": log,
            "files": {},
            "overlays": [],
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

    def _config(
        self, parent: Record, action: RunCommand, argv: list[str], group: str
    ) -> dict[str, Any]:
        step = action.step
        own = {name for name, _ in step.env}
        inherited = [
            (name, value)
            for name, _, value in (text.partition("=") for text in parent.config.get("Env") or ())
            if name not in own
        ]
        env = [*inherited, *reversed(step.env)]
        if not any(name == "PATH" for name, _ in env):
            env.insert(0, _PATH)
        if not any(name == "HOME" for name, _ in env):
            env.append(("HOME", "/root" if step.user == UnixUser(0, 0) else "/"))
        env.insert(0, ("HOSTNAME", step.hostname))
        uid, gid = _ids(step)
        network = HOST_NETWORK if step.network == ("host",) else NO_NETWORK
        mounts = []
        if network == HOST_NETWORK:
            mounts = [Mount(path, path, read_only=True) for path in _HOST_FILES if _is_file(path)]
        root = self._calls.root
        config = oci_config(
            args=argv,
            env=env,
            cwd=step.workdir,
            uid=uid,
            gid=gid,
            hostname=step.hostname,
            network=network,
            rootless=not root,
            mounts=mounts,
            seccomp=profile(platform.machine()),
            limits=action.limits,
            cgroup=cgroups.step_path(group, action.limits) if self.runtime.cgroups else None,
        )
        if action.limits != Limits():
            config["mounts"].append(_CGROUP)
        return config

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
            os.makedirs(f"{work}/bundle")
            config = runtime.probe(
                f"{work}/layer/fs",
                platform.machine(),
                rootless=not self._calls.root,
                prefix=self._prefix,
            )
            os.mkdir(f"{work}/bundle/rootfs")
            os.mkdir(f"{work}/state")
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
                    candidate, os.path.basename(work), state=f"{work}/state", log=log
                ),
                "hidden": candidate.hidden,
                "log": log,
                "files": {},
                "overlays": [],
            }
            with self._calls.call("run", wanted, receive=True) as call:
                said.extend(call.output())
                answer = call.answer()
            if answer["status"] == 0:
                return ""
            words = b"".join(said).decode("utf-8", "replace").strip()
            return words or answer["log"].strip() or f"status {answer['status']}"


def _ids(step: RunStep) -> tuple[int, int]:
    user = step.user
    if isinstance(user, UnixUser):
        return user.uid, user.gid
    if user.name in ("root", "0"):
        return 0, 0
    raise BuildError(
        f"the image has no such user or group: {user.name}",
        hint="write the user by numbers: (user (uid N) (gid N))",
    )


def _check(step: RunStep, argv: list[str]) -> None:
    """What no run can have."""
    user = step.user
    if isinstance(user, UnixUser) and not all(0 <= n <= _MAX_ID for n in (user.uid, user.gid)):
        raise BuildError(
            f"there can be no user {user.uid}:{user.gid} in a container",
            hint=f"uids and gids go from 0 to {_MAX_ID}",
        )
    if any(not name for name, _ in step.env):
        raise BuildError("a variable of the environment has no name", hint="see the (env …) above")
    named = [user.name] if isinstance(user, NamedUser) else []
    variables = [f"{name}={value}" for name, value in step.env]
    for text in [*argv, *variables, step.workdir, *named, *step.network]:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise BuildError(
                f"no container can take a text that is not UTF-8, or has a NUL: {readable(text)!r}",
                hint="write the bytes in the command's own way, as printf '\\377'",
            )
    if step.network not in ((), ("none",), ("host",)):
        raise EngineError(
            f"there is no network {', '.join(step.network)}: the native engine has none and host",
            hint="write (network host), or build with Docker: --store docker:PATH",
        )


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


def _is_file(path: str) -> bool:
    return os.path.isfile(path)


def _size(number: int) -> str:
    for unit in ("", "k", "m", "g"):
        if number % 1024 or unit == "g":
            return f"{number}{unit}"
        number //= 1024
    return str(number)
