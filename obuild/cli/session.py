"""Joining the parts for one build: store, engine, context, display, signals."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from obuild.cli.cancelling import Cancelling
from obuild.cli.script import Script
from obuild.context import BuildContext, NoDigestCache
from obuild.engine import Engine
from obuild.events import Emit
from obuild.executor import Executor, Inputs, Options, Result
from obuild.progress import Renderer
from obuild.store import Store

__all__ = ["Request", "build", "docker_engine"]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that one build is asked with."""

    script: Script
    store: str
    options: Options
    secrets: dict[str, bytes]
    stat_cache: bool
    verbose: bool


def docker_engine(
    prefix: str, emit: Emit, *, session: str | None = None, verbose: bool = False
) -> Engine:
    """The Docker engine that the environment names; loads the SDK."""
    from obuild.engine.docker import DockerEngine

    return DockerEngine(prefix, environment=os.environ, session=session, emit=emit, verbose=verbose)


def open_context(folder: str, store: Store | None, *, stat_cache: bool) -> BuildContext:
    """The build context; with the store's digests of its files if they may be used."""
    cache = store.digests(os.path.realpath(folder)) if store and stat_cache else NoDigestCache()
    return BuildContext(folder, cache, cwd=os.getcwd())


def build(request: Request, renderer: Renderer, emit: Emit | None = None) -> Result:
    """Build, showing every event; ends the display, the engine and the store in any case.

    ``emit`` takes the events in place of the renderer, and passes on what it should show.
    """
    store = Store.open(request.store)
    try:
        with Cancelling() as cancel:
            return _build(request, renderer, emit or renderer, store, cancel)
    finally:
        store.close()


def _build(
    request: Request, renderer: Renderer, emit: Emit, store: Store, cancel: Cancelling
) -> Result:
    script = request.script
    inputs = Inputs(
        lambda: open_context(script.context, store, stat_cache=request.stat_cache),
        request.secrets,
        request.options,
    )
    executor = Executor(
        store,
        lambda session: docker_engine(store.prefix, emit, session=session, verbose=request.verbose),
        _glance(store.prefix),
        inputs,
        emit,
        cancel.flag,
        spec=script.path,
    )
    try:
        try:
            return executor.run(script.build)
        finally:
            executor.close()
    finally:
        renderer.close()


def _glance(prefix: str) -> Callable[[Sequence[str]], list[bool] | None]:
    def glance(keys: Sequence[str]) -> list[bool] | None:
        from obuild.engine.docker.glance import glance as look

        return look(None, os.environ, [f"{prefix}-image-{key}" for key in keys])

    return glance
