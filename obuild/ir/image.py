"""Image configuration, as far as builds set it."""

from __future__ import annotations

from obuild.values import Value

__all__ = ["ImageConfig"]


class ImageConfig(Value):
    """The part of an image's configuration that a build may set; see the OCI image spec."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    shell: tuple[str, ...] = ()
