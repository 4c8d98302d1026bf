"""Image configurations as Docker's API writes them, and what a commit makes of them.

What a commit does (tried on 20.10 and 28.5): the body of the call is merged with the
container's configuration. Entrypoint and Cmd of the body stay if they are lists, empty ones
included; Env of the container is added by name, unless the body has the name (alone, without
``=``, it keeps the name but drops the value); User, WorkingDir, Labels, Volumes and
ExposedPorts come from the container where the body has none. So a snapshot of a run keeps
the run's user and workdir, and bare names of its variables, until ``restore``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from obuild.engine.configs import Config, tidy

__all__ = [
    "MARK",
    "bears_mark",
    "cleared",
    "commit_body",
    "committed",
    "needs_clearing",
]

MARK = "obuild"
"""How the comment of every commit and of every configuration that obuild made begins: written
with the name or before it, so what has the name and the comment is complete."""


_ACTING = ("Volumes", "Healthcheck", "OnBuild")
_LOST = ("Shell", "StopTimeout", "ArgsEscaped")  # unless the body of a commit has them


def bears_mark(comment: str) -> bool:
    """Whether the comment is obuild's. That of a commit names the container besides."""
    return comment == MARK or comment.startswith(f"{MARK} ")


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


def _name(assignment: str) -> str:
    return assignment.partition("=")[0]
