"""The files of another build: their manifests, remembered or read from its snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from obuild.engine import Cancel, Engine, Files, Source
from obuild.errors import SourceError
from obuild.executor.inputs import Inputs, question_of
from obuild.ir.steps import CopyStep
from obuild.store import Store

if TYPE_CHECKING:
    from obuild.ir.manifest import Manifest

__all__ = ["OtherBuild", "open_build"]


class OtherBuild:
    """The snapshot of another build, for one copy. It is opened when it is first needed."""

    def __init__(
        self,
        store: Store,
        inputs: Inputs,
        key: str,
        step: CopyStep,
        source: Callable[[], Source],
        reopen: Callable[[], None],
    ):
        self._store = store
        self._inputs = inputs
        self._key = key
        self._step = step
        self._source = source
        self._reopen = reopen
        self._given = False

    def manifests(
        self,
        turn: Callable[[], AbstractContextManager[None]],
        patiently: Callable[
            [Callable[[], tuple[Manifest, ...]], Callable[[], None]], tuple[Manifest, ...]
        ],
    ) -> tuple[Manifest, ...]:
        """The manifests of the copy's sources, the last source first: so they stand in
        OBuilder's keys. Only reading them takes a ``turn``. Raises ``SourceError``."""
        found = self._inputs.manifests_of(self._key, self._step)
        if found is not None:
            return found
        with turn():
            return patiently(self._read, self._reopen)

    def files(self, manifests: tuple[Manifest, ...]) -> Files:
        if self._given:
            self._reopen()  # the engine was away, and what was open is of no use
        self._given = True
        return self._source().files(manifests, self._step.destination, self._step.user)

    def _read(self) -> tuple[Manifest, ...]:
        from obuild.ir.manifest import write_manifest

        try:
            found = self._source().manifest(self._step.sources, self._step.exclude)
        except SourceError as error:
            raise error.at(self._step.place) from None
        lines = [str(write_manifest(manifest, attributes=True)) for manifest in found]
        self._store.keep_manifests(self._key, question_of(self._step), "\n".join(lines))
        return found[::-1]


@contextmanager
def open_build(
    store: Store,
    engine: Callable[[], Engine],
    inputs: Inputs,
    key: str,
    step: CopyStep,
    cancel: Cancel,
) -> Iterator[OtherBuild]:
    """The build whose snapshot is ``key``, as long as this is open."""
    with ExitStack() as stack:
        known: list[Source] = []

        def source() -> Source:
            if not known:
                known.append(stack.enter_context(engine().source(key, cancel)))
            return known[0]

        yield OtherBuild(store, inputs, key, step, source, known.clear)
