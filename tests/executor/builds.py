"""One store, one context, one engine that plays its part: what the executor's tests build on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event

from obuild.context import BuildContext
from obuild.engine import Engine
from obuild.engine.rehearsal import RehearsalEngine
from obuild.events import Event as Happening
from obuild.events import StepFailed, StepHit, StepSaved
from obuild.executor.execute import Executor, Result
from obuild.executor.inputs import Inputs, Options
from obuild.frontend.obuilder import read_spec
from obuild.source import Text
from obuild.store import Store

__all__ = ["SPEC", "Stage"]

SPEC = """((from busybox) (comment hi) (shell /bin/sh -c) (env A 1)
 (run (shell "make")) (copy (src f) (dst /f)) (workdir /w) (run (shell "check")))"""


class Stage:
    """A store, a context, an engine, and all that happened."""

    def __init__(self, tmp_path: Path):
        (tmp_path / "context").mkdir()
        (tmp_path / "context" / "f").write_text("f")
        self.context = tmp_path / "context"
        self.path = str(tmp_path / "store")
        self.store = Store.open(self.path)
        self.engine = RehearsalEngine()
        self.wrapped: Engine | None = None
        self.secrets: Mapping[str, bytes] = {}
        self.engines = 0
        self.glanced: list[list[str]] = []
        self.events: list[Happening] = []
        self.cancel = Event()

    def glance(self, keys: Sequence[str]) -> list[bool] | None:
        self.glanced.append(list(keys))
        return [self.engine.exists(key) for key in keys]

    def _engine(self, visit: str) -> Engine:
        assert self.store.alive(visit)
        self.engines += 1
        return self.wrapped or self.engine

    def build(
        self,
        spec: str = SPEC,
        options: Options | None = None,
        emit: Callable[[Happening], None] | None = None,
    ) -> Result:
        self.events = []
        self.engine.performed = []
        executor = Executor(
            self.store,
            self._engine,
            self.glance,
            Inputs(
                lambda: BuildContext(str(self.context)),
                self.secrets,
                options or Options(),
                self.store.manifests,
            ),
            emit or self.events.append,
            self.cancel,
            spec="x.spec",
        )
        try:
            return executor.run(read_spec(Text("x.spec", spec.encode())))
        finally:
            executor.close()

    def kinds(self) -> list[str]:
        """hit, saved or failed, for each step."""
        return [
            type(event).__name__.removeprefix("Step").lower()
            for event in self.events
            if isinstance(event, StepHit | StepSaved | StepFailed)
        ]

    def actions(self) -> list[type]:
        return [type(action) for action in self.engine.performed]
