"""Image configuration, as far as builds set it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ImageConfig"]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an image's configuration that a build may set; see the OCI image spec."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    shell: tuple[str, ...] = ()
