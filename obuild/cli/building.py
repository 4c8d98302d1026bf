"""Joining the parts for one build: store, engine, context, display, signals."""

from __future__ import annotations

import os

from obuild.cli.cancelling import Cancelling
from obuild.cli.engines import docker_engine, glance_with
from obuild.cli.script import Script
from obuild.context import BuildContext, NoDigestCache
from obuild.errors import ObuildError
from obuild.events import Emit, Warned
from obuild.executor.execute import Executor, Result
from obuild.executor.flags import unhurried
from obuild.executor.inputs import Inputs, Options
from obuild.progress import Renderer
from obuild.store import Store
from obuild.values import Value

__all__ = ["Request", "build"]


class Request(Value):
    """Everything that one build is asked with."""

    script: Script
    store: str
    options: Options
    secrets: dict[str, bytes]
    stat_cache: bool
    verbose: bool
    tools: str | None = None


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody removed it: then nothing stands there
        return None


def open_context(folder: str, store: Store, *, stat_cache: bool) -> BuildContext:
    """The build context; with the store's digests of its files if they may be used."""
    cache = store.digests(os.path.realpath(folder)) if stat_cache else NoDigestCache()
    return BuildContext(folder, cache, cwd=_working_directory())


def build(request: Request, renderer: Renderer, emit: Emit | None = None) -> Result:
    """Build, showing every event; ends the display, the engine and the store in any case.

    ``emit`` takes the events in place of the renderer, and passes on what it should show.
    """
    show = emit or renderer
    store = Store.open(request.store, warn=lambda what: show(Warned(what)))
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
        store.manifests,
    )
    executor = Executor(
        store,
        lambda visit: docker_engine(
            store.prefix,
            emit,
            lock=unhurried(store.lock),
            visit=visit,
            verbose=request.verbose,
            tools=request.tools,
            isolation=request.options.limits.isolation,
        ),
        glance_with(store.prefix),
        inputs,
        emit,
        cancel.flag,
        spec=script.path,
    )
    try:
        try:
            result = executor.run(script.build)
        except BaseException:
            _close(executor, emit)
            raise
        executor.close()
        return result
    finally:
        renderer.close()


def _close(executor: Executor, emit: Emit) -> None:
    """After a failure: what fails now too must not hide it."""
    try:
        executor.close()
    except ObuildError as error:
        emit(Warned(error.message))
