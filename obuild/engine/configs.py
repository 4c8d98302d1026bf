"""Configurations of images, as the OCI image spec and Docker's API write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from obuild.ir.image import ImageConfig

__all__ = ["Config", "image_config", "sealed", "tidy"]

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
