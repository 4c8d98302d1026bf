"""The engine that the environment names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from obuild.engine import Engine
from obuild.events import Emit

__all__ = ["docker_engine", "glance_with"]


def docker_engine(
    prefix: str, emit: Emit, *, visit: str | None = None, verbose: bool = False
) -> Engine:
    """The Docker engine; loads the SDK."""
    from obuild.engine.docker import DockerEngine

    return DockerEngine(prefix, environment=os.environ, visit=visit, emit=emit, verbose=verbose)


def glance_with(prefix: str) -> Callable[[Sequence[str]], list[bool] | None]:
    """One small look at which keys have images, without the SDK."""

    def glance(keys: Sequence[str]) -> list[bool] | None:
        from obuild.engine.docker.glance import glance as look

        return look(None, os.environ, [f"{prefix}-image-{key}" for key in keys])

    return glance
