"""The engine that the environment names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from obuild.engine import Engine, Lock, ResolvedImage
from obuild.events import Emit

__all__ = ["docker_engine", "glance_with", "image_here", "snapshot_here"]


def docker_engine(
    prefix: str,
    emit: Emit,
    *,
    lock: Lock | None = None,
    visit: str | None = None,
    verbose: bool = False,
    tools: str | None = None,
    isolation: str | None = None,
) -> Engine:
    """The Docker engine; loads the SDK. ``lock`` is the store's, for what locks caches;
    ``tools`` and ``isolation`` are for Windows guests."""
    from obuild.engine.docker import DockerEngine

    return DockerEngine(
        prefix,
        environment=os.environ,
        lock=lock,
        visit=visit,
        emit=emit,
        verbose=verbose,
        tools=tools,
        isolation=isolation,
    )


def glance_with(prefix: str) -> Callable[[Sequence[str]], list[bool] | None]:
    """One small look at which keys have images, without the SDK."""

    def glance(keys: Sequence[str]) -> list[bool] | None:
        from obuild.engine.docker.glance import glance as look

        return look(None, os.environ, [f"{prefix}-image-{key}" for key in keys])

    return glance


def image_here(name: str, platform: str | None) -> ResolvedImage | None:
    """One small look at what an image is, without the SDK and without fetching it.

    None where it is not here, or cannot be looked at so easily. Raises ``EngineUnavailable``.
    """
    from obuild.engine.docker.glance import inspect
    from obuild.engine.docker.images import resolved_here

    found = inspect(None, os.environ, [name])
    return resolved_here(name, platform, found[0]) if found and found[0] else None


def snapshot_here(prefix: str) -> Callable[[str], ResolvedImage | None]:
    """The same of a snapshot, by its key."""
    return lambda key: image_here(f"{prefix}-image-{key}", None)
