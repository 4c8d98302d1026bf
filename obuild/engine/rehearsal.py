"""An engine that only plays its part: for tests of everything above the border.

Snapshots are entries in memory. Commands are not run: a script (a function of the command)
says what each prints and with which status it ends. It keeps the contract of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from obuild.engine import (
    Action,
    CacheVolume,
    Cancel,
    Capabilities,
    Import,
    Output,
    PutFiles,
    ResolvedImage,
    RunCommand,
    Seal,
    Snapshot,
    Source,
    Waiting,
    unnoticed,
)
from obuild.errors import Cancelled, EngineError, ImageError, StepFailed
from obuild.events import Emit
from obuild.ir.steps import RunStep

__all__ = ["RehearsalEngine", "Script"]

Script = Callable[[RunStep], tuple[bytes, int]]
"""A run to what it prints and the status it ends with."""


def _silent(_: RunStep) -> tuple[bytes, int]:
    return b"", 0


class RehearsalEngine:
    """``images`` are the base images by name; ``performed`` tells what was executed; what a
    snapshot gives to copies is in ``trees``, by its key, and ``opened`` counts how often one
    was opened. A command in ``talk`` prints as it goes: its function is given the key and the
    step's output."""

    capabilities = Capabilities("rehearsal", "linux")

    def __init__(self, images: Iterable[str] = ("busybox",), script: Script = _silent):
        self.images = {name: f"sha256:{name}" for name in images}
        self.script = script
        self.performed: list[Action] = []
        self.trees: dict[str, Source] = {}
        self.opened = 0
        self.talk: dict[str, Callable[[str, Output], None]] = {}
        self.names: dict[str, str] = {}
        self.restored: list[str] = []
        self.closed = False
        self._snapshots: dict[str, str] = {}

    def resolve(
        self,
        reference: str,
        platform: str | None,  # noqa: ARG002
        emit: Emit,  # noqa: ARG002
        step: int,  # noqa: ARG002
        *,
        pull: bool,  # noqa: ARG002
    ) -> ResolvedImage:
        name = reference.split("@")[0]
        if name not in self.images:
            raise ImageError(f"there is no image {reference}")
        return ResolvedImage(reference, self.images[name], self.images[name], "linux", "amd64")

    def execute(
        self,
        key: str,
        parent: str | None,
        action: Action,
        output: Output,
        cancel: Cancel,
        waiting: Waiting = unnoticed,  # noqa: ARG002
    ) -> Snapshot:
        if parent is not None and parent not in self._snapshots:
            raise EngineError(f"the snapshot {parent} is gone")
        if cancel.is_set():
            raise Cancelled("the build was cancelled")
        self.performed.append(action)
        match action:
            case RunCommand(step=step):
                if step.cmd in self.talk:
                    self.talk[step.cmd](key, output)
                printed, status = self.script(step)
                output(printed)
                if status != 0:
                    command = (*step.shell, step.cmd)
                    raise StepFailed(
                        f"the command ended with status {status}", status=status, command=command
                    )
            case PutFiles(destination=destination, files=files):
                for _ in files.tar(destination.strip("/").encode()):
                    pass
            case Import() | Seal():
                pass
        self._snapshots[key] = f"sha256:{key}"
        return Snapshot(key, self._snapshots[key])

    def exists(self, key: str) -> bool:
        return key in self._snapshots

    def list(self, vouched: Collection[str] = ()) -> Sequence[Snapshot]:  # noqa: ARG002
        return [Snapshot(key, image) for key, image in self._snapshots.items()]

    def sizes(self) -> Mapping[str, int]:
        return dict.fromkeys(self._snapshots, 0)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._snapshots.pop(key, None)

    def restore(self, key: str, base: str) -> None:
        if base not in self._snapshots:
            raise EngineError(f"the snapshot {base} is gone")
        self.restored.append(key)

    def inspect(self, key: str) -> ResolvedImage:
        if key not in self._snapshots:
            raise EngineError(f"the snapshot {key} is gone")
        return ResolvedImage(key, self._snapshots[key], None, "linux", "amd64")

    def publish(self, key: str, name: str) -> None:
        self.names[name] = key

    def claim(self, store_id: str | None, machine_id: str) -> str:  # noqa: ARG002
        return store_id or "rehearsal"

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:  # noqa: ARG002
        return ()

    @contextmanager
    def source(self, key: str, cancel: Cancel) -> Iterator[Source]:  # noqa: ARG002
        if key not in self._snapshots:
            raise EngineError(f"the snapshot {key} is gone")
        self.opened += 1
        yield self.trees[key]

    def caches(self) -> Sequence[CacheVolume]:
        return ()

    def remove_cache(self, cache: CacheVolume) -> None:
        raise EngineError(f"there is no cache {cache.id}")

    def export_cache(self, cache: CacheVolume, cancel: Cancel) -> Iterator[bytes]:  # noqa: ARG002
        raise EngineError(f"there is no cache {cache.id}")

    def import_cache(
        self,
        id: str,
        sharing: str,  # noqa: ARG002
        archive: Iterator[bytes],  # noqa: ARG002
        cancel: Cancel,  # noqa: ARG002
    ) -> CacheVolume:
        raise EngineError(f"there is no cache {id}")

    def healthcheck(self, image: str | None) -> str:  # noqa: ARG002
        return "rehearsal: it plays its part"

    def clean(self) -> None:
        self._snapshots.clear()

    def close(self) -> None:
        self.closed = True
