"""Running a build: walk its stages, take what is stored, do what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import RLock

from obuild.engine import Cancel, Engine
from obuild.errors import EngineError
from obuild.events import BuildFinished, Emit, Warned
from obuild.executor.flags import Stop
from obuild.executor.inputs import Inputs
from obuild.executor.lookup import Glance, Lookup
from obuild.executor.opening import open_engine
from obuild.executor.perform import Performer
from obuild.executor.retries import retried
from obuild.executor.seal import seal
from obuild.executor.walk import Ended, Walk
from obuild.ir.ops import Build
from obuild.platforms import Platform, by_os
from obuild.store import Store
from obuild.values import Value

__all__ = ["Executor", "Result"]


class Result(Value):
    """``key`` names the snapshot of the last step, ``image_id`` the sealed image, if any."""

    key: str
    image_id: str | None = None


class Executor:
    """Runs one build. ``engine`` makes the engine, at the first step that needs it; it is
    given the name of the visit, which is locked in the store from the build's first look on."""

    def __init__(
        self,
        store: Store,
        engine: Callable[[str], Engine],
        glance: Glance,
        inputs: Inputs,
        emit: Emit,
        cancel: Cancel,
        *,
        spec: str,
    ):
        self._store = store
        self._make_engine = engine
        self._inputs = inputs
        self._platform: Platform | None = None
        self._emit = emit
        self._stop = Stop(cancel)
        self._opening = RLock()
        self._opened: Engine | None = None
        self._ending = ExitStack()
        self._visit: str | None = None
        self._lookup = Lookup(store, glance)
        self._performer = Performer(
            store,
            self.engine,
            self._lookup,
            emit,
            spec=spec,
            options=inputs.options,
            secrets=inputs.secrets.values(),
        )

    def engine(self) -> Engine:
        """The engine, opened at the first call: leftovers gone, the index put right."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _begin(self) -> str:
        """The visit's name: a lock that is held from before the store is first asked until
        the engine is closed. What this build finds or makes stays as long, and whoever finds
        the lock abandoned knows that something may have been left behind."""
        if self._visit is None:
            self._visit = self._ending.enter_context(self._store.visit())
        return self._visit

    def _open(self) -> Engine:
        visit = self._begin()
        engine = open_engine(self._store, self._make_engine(visit), self._emit, visit)
        self._ending.callback(engine.close)
        guest_os = engine.capabilities.guest_os
        if self._platform is not None and by_os(guest_os) != self._platform:
            raise EngineError(
                f"the engine has {guest_os} guests now, but had {self._platform.os} ones",
                hint="run this again",
            )
        return engine

    def platform(self) -> Platform:
        """The guest's platform: as the store remembers it, else as the engine says."""
        if self._platform is None:
            known = self._store.guest_os or self.engine().capabilities.guest_os
            self._platform = by_os(known)
        return self._platform

    def run(self, build: Build) -> Result:
        """Build everything; the last event is ``BuildFinished``, whatever happens."""
        began = time.monotonic()
        key: str | None = None
        performer = self._performer
        try:
            self._begin()
            platform = self.platform()
            self._lookup.prime(build, self._inputs, platform)
            walk = Walk(
                self._store,
                self.engine,
                self._inputs,
                platform,
                performer,
                self._emit,
                self._stop,
            )
            ended = walk.run(build.target)
            # What it does can be done again.
            image_id = retried(
                lambda: self._finish(ended, walk),
                lambda what: self._emit(Warned(what)),
                self._stop,
                self._inputs.options.pauses,
            )
            key = ended.key
            return Result(key, image_id)
        finally:
            performer.note_hits()
            seconds = time.monotonic() - began
            self._emit(BuildFinished(key, seconds, performer.hits, performer.saved))

    def close(self) -> None:
        """End the engine's work in the background. Raises what went wrong there."""
        self._ending.close()

    def _finish(self, ended: Ended, walk: Walk) -> str | None:
        """The result gets its base's configuration; the user's names get a sealed image."""
        key, base = ended.key, ended.base
        if key != base and not self._is_settled(key):
            self._keep_base(base, walk)
            # Who looks at the snapshot holds its lock, and never sees it half way.
            with self._store.lock(key, self._stop, lambda: None):
                if not self._is_settled(key):
                    self.engine().restore(key, base)
                    self._store.set_settled(key)
        tags = self._inputs.options.tags
        if not tags:
            return None
        self._keep_base(base, walk)
        return seal(self._store, self.engine(), key, base, ended.scope, tags, self._stop)

    def _is_settled(self, key: str) -> bool:
        record = self._store.record(key)
        return record is not None and record.settled

    def _keep_base(self, key: str, walk: Walk) -> None:
        """A base that somebody removed is needed once more, for its configuration."""
        if not self.engine().exists(key):
            self._performer.perform_again(walk.bases[key])
