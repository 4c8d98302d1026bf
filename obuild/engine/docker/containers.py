"""The container of a run, as the Engine API writes it, and what it means if it will not start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from obuild.engine import RunCommand
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.mounts import host_config
from obuild.errors import BuildError, EngineError, StepFailed
from obuild.ir.ops import UnixUser
from obuild.ir.steps import RunStep
from obuild.source import readable

__all__ = ["NOT_FOUND", "container_config", "not_started"]

NOT_FOUND = 127
"""The status of a shell that does not find a program."""
_NOT_EXECUTABLE = 126
_MAX_ID = 2**31 - 1
_PS = "see `docker ps`"


def container_config(image: str, argv: list[str], action: RunCommand) -> dict[str, Any]:
    """Raises ``BuildError`` for what no container can have."""
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
            shown = readable(text)
            raise BuildError(
                f"Docker cannot take a text that is not UTF-8, or has a NUL: {shown!r}",
                hint="write the bytes in the command's own way, as printf '\\377'",
            )


def not_started(error: DaemonError, argv: Sequence[str], step: RunStep) -> Exception:
    """What a refusal to create or start the container means for the user.

    The words are those of dockerd and runc; the status alone does not tell these apart.
    """
    words = error.words.lower()
    command_ = tuple(argv)
    missing = "no such file or directory" in words and f'exec: "{argv[0].lower()}"' in words
    if missing or "executable file not found" in words:
        return StepFailed(
            f"the program {argv[0]} is missing in the image",
            status=NOT_FOUND,
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
    if any(name.startswith("container:") for name in step.network) and (
        "no such container" in words or "non running container" in words
    ):
        lender = step.network[0].removeprefix("container:")
        return EngineError(f"no container {lender} runs, whose network it is to have", hint=_PS)
    if "network" in words and "not found" in words:
        asked = ", ".join(step.network)
        return EngineError(f"there is no network {asked}", hint="see `docker network ls`")
    return error
