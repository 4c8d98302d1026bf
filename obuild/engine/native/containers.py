"""The container of a run, as a runtime is told of it, and what no container can have."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from obuild.engine import Limits, RunCommand
from obuild.engine.native.bundle import HOST_NETWORK, NO_NETWORK, Mount, bind, oci_config
from obuild.engine.native.records import Record
from obuild.engine.native.seccomp import profile
from obuild.engine.secretfiles import SecretFile
from obuild.errors import BuildError, EngineError
from obuild.ir.ops import NamedUser, UnixUser
from obuild.ir.steps import RunStep
from obuild.source import readable

__all__ = ["check_step", "container_config"]

_PATH = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_MAX_ID = 2**31 - 1
_CGROUP = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["ro", "nosuid", "noexec", "nodev"],
}
"""Where limits are, programs look for them."""
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")


def container_config(
    parent: Record,
    action: RunCommand,
    argv: Sequence[str],
    *,
    rootless: bool,
    cgroup: str | None,
    caches: Sequence[Mount] = (),
    secrets: Sequence[SecretFile] = (),
    memory: str = "",
) -> dict[str, Any]:
    """The configuration of the bundle. ``memory``: the folder with the secrets' files."""
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
        mounts = [Mount(path, path, read_only=True) for path in _HOST_FILES if os.path.isfile(path)]
    config = oci_config(
        args=argv,
        env=env,
        cwd=step.workdir,
        uid=uid,
        gid=gid,
        hostname=step.hostname,
        network=network,
        rootless=rootless,
        mounts=mounts,
        seccomp=profile(platform.machine()),
        limits=action.limits,
        cgroup=cgroup,
    )
    if action.limits != Limits():
        config["mounts"].append(_CGROUP)
    config["mounts"] += map(bind, caches)
    _add_secrets(config, secrets, memory)
    config["mounts"].sort(key=_depth)
    return config


def check_step(step: RunStep, argv: Sequence[str]) -> None:
    """Raises ``BuildError`` or ``EngineError`` for what no run can have."""
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


def _add_secrets(config: dict[str, Any], secrets: Sequence[SecretFile], folder: str) -> None:
    for number, secret in enumerate(secrets):
        if secret.variable is not None:
            variables = config["process"]["env"]
            old = [text for text in variables if text.startswith(f"{secret.variable}=")]
            for text in old:
                variables.remove(text)
            variables.append(secret.assignment)
        if secret.target is not None:
            config["mounts"].append(bind(Mount(f"{folder}/{number}", secret.target, True)))


def _depth(mount: Mapping[str, Any]) -> int:
    """What is mounted in another mount comes after it."""
    path: str = mount["destination"]
    return len([name for name in path.split("/") if name not in ("", ".")])
