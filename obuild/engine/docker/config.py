"""Image configurations as Docker's API writes them, and what a commit makes of them.

What a commit does (tried on 20.10 and 28.5): the body of the call is merged with the
container's configuration. Entrypoint and Cmd of the body stay if they are lists, empty ones
included; Env of the container is added by name, unless the body has the name (alone, without
``=``, it keeps the name but drops the value); User, WorkingDir, Labels, Volumes and
ExposedPorts come from the container where the body has none. So a snapshot of a run keeps
the run's user and workdir, and bare names of its variables, until ``restore``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from obuild.ir.image import ImageConfig

__all__ = [
    "MARK",
    "bears_mark",
    "Config",
    "cleared",
    "commit_body",
    "committed",
    "image_config",
    "needs_clearing",
    "sealed",
    "tidy",
]

MARK = "obuild"
"""How the comment of every commit and of every configuration that obuild made begins: written
with the name or before it, so what has the name and the comment is complete."""

Config = Mapping[str, Any]

_FIELDS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Healthcheck",
    "OnBuild",
    "Shell",
    "ArgsEscaped",
)
_ACTING = ("Volumes", "Healthcheck", "OnBuild")
_LOST = ("Shell", "StopTimeout", "ArgsEscaped")  # unless the body of a commit has them


def bears_mark(comment: str) -> bool:
    """Whether the comment is obuild's. That of a commit names the container besides."""
    return comment == MARK or comment.startswith(f"{MARK} ")


def tidy(config: Config | None) -> Config:
    """Only what an image's configuration means: its known fields that are not empty. Two
    images are configured alike if these are equal."""
    return {name: config[name] for name in _FIELDS if config.get(name)} if config else {}


def image_config(config: Config) -> ImageConfig:
    return ImageConfig(
        env=tuple(config.get("Env") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        workdir=config.get("WorkingDir") or "",
        user=config.get("User") or "",
        shell=tuple(config.get("Shell") or ()),
    )


def needs_clearing(config: Config) -> bool:
    """Whether a container of the image would act on its own: lose files to volumes at the
    commit, or run health checks. (What ONBUILD says is for other builds to hear.)"""
    return any(config.get(name) for name in _ACTING)


def cleared(config: Config) -> Config:
    return {name: value for name, value in config.items() if name not in _ACTING}


def commit_body(parent: Config, variables: Iterable[str]) -> dict[str, Any]:
    """The body with which a commit gives the parent's configuration, as far as it can.

    ``variables`` are names that the container's environment had besides the parent's.
    """
    env = list(parent.get("Env") or ())
    known = {_name(assignment) for assignment in env}
    body: dict[str, Any] = {
        "Env": env + [name for name in variables if name not in known],
        "Entrypoint": list(parent.get("Entrypoint") or ()),
        "Cmd": list(parent.get("Cmd") or ()),
    }
    return body | {name: parent[name] for name in _LOST if parent.get(name)}


def committed(parent: Config, body: Config, user: str, workdir: str) -> Config:
    """The configuration that such a commit gives; saves asking for it."""
    return tidy(
        {
            **cleared(parent),
            "Env": body["Env"],
            "User": user or parent.get("User"),
            "WorkingDir": workdir or parent.get("WorkingDir"),
        }
    )


def sealed(base: Config, config: ImageConfig) -> Config:
    """``base`` with the fields of ``config`` that are not empty set over it."""
    over: dict[str, object] = {
        "Env": _merged(base.get("Env") or (), config.env),
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "WorkingDir": config.workdir,
        "User": config.user,
        "Shell": list(config.shell),
    }
    return tidy({**base, **{name: value for name, value in over.items() if value}})


def _merged(below: Sequence[str], over: Sequence[str]) -> list[str]:
    """Variables by name; one that is set again stays where it was first."""
    variables = {_name(assignment): assignment for assignment in below}
    variables.update({_name(assignment): assignment for assignment in over})
    return list(variables.values())


def _name(assignment: str) -> str:
    return assignment.partition("=")[0]
