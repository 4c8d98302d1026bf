"""The Docker engine: the parts of this package behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from threading import Semaphore
from typing import Any

from obuild.engine import (
    Action,
    Cancel,
    Capabilities,
    Import,
    Output,
    PutFiles,
    ResolvedImage,
    RunCommand,
    Seal,
    Snapshot,
)
from obuild.engine.docker import claims, health, leftovers
from obuild.engine.docker.address import find_address
from obuild.engine.docker.connection import Connection
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.files import Puts
from obuild.engine.docker.finishing import Finishing
from obuild.engine.docker.idle import Idle
from obuild.engine.docker.images import Images
from obuild.engine.docker.names import Names
from obuild.engine.docker.parents import Parents
from obuild.engine.docker.runs import Runs
from obuild.engine.docker.thinload import ThinLoads
from obuild.errors import Cancelled, EngineError
from obuild.events import Emit
from obuild.platforms import Platform, by_os

__all__ = ["DockerEngine"]

_TIMEOUT = 60.0
_MAX_LAYERS = 124


class DockerEngine:
    """Runs steps in containers of a Docker daemon and keeps snapshots as its images.

    ``prefix`` begins the names of all objects. ``host`` None: the daemon that ``environment``
    (what ``os.environ`` holds) and the docker contexts name. ``visit`` names what helps a
    whole build along (see ``idle``); None: nothing does. ``jobs``: containers at a time.
    ``timeout``: seconds in which the daemon must answer. With ``verbose`` every call is
    emitted as ``EngineCalled``. Nothing is asked of the daemon before the first call.
    """

    def __init__(
        self,
        prefix: str,
        *,
        host: str | None = None,
        environment: Mapping[str, str] | None = None,
        emit: Emit,
        visit: str | None = None,
        jobs: int = 2,
        timeout: float = _TIMEOUT,
        verbose: bool = False,
    ):
        connection = Connection(find_address(host, environment or {}), timeout)
        self._daemon = Daemon(connection, Names(prefix), emit, verbose=verbose)
        self._images = Images(self._daemon)
        thin = ThinLoads(self._daemon, lambda: self._containerd)
        parents = Parents(self._daemon, self._images, thin, lambda: self.capabilities)
        turns = Semaphore(jobs)
        self._idle = Idle(self._daemon, visit)
        self._runs = Runs(
            self._daemon, self._images, parents, lambda: self._platform, turns, self._idle
        )
        self._puts = Puts(self._daemon, self._images, parents, thin)
        self._finishing = Finishing(self._daemon, self._images, thin)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the daemon tells of itself. Windows guests: archive endpoints fail on
        Hyper-V containers, and their layers cannot be put together by a load."""
        linux = self._platform.os == "linux"
        most = _MAX_LAYERS if linux else None
        return Capabilities("docker", self._platform.os, linux, linux, most)

    def resolve(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> ResolvedImage:
        return self._images.resolve(reference, platform, emit, step, pull=pull)

    def execute(
        self, key: str, parent: str | None, action: Action, output: Output, cancel: Cancel
    ) -> Snapshot:
        self._daemon.removals.check()
        if cancel.is_set():
            raise Cancelled("cancelled")
        if isinstance(action, Import):
            self._images.take(key, action.image)
            return Snapshot(key, action.image.id)
        if parent is None:
            raise ValueError("only an import has no parent")
        match action:
            case RunCommand():
                return self._runs.run(key, parent, action, output, cancel)
            case PutFiles():
                return self._puts.put(key, parent, action, cancel, self.capabilities)
            case Seal():
                return self._finishing.seal(key, parent, action, self.capabilities)

    def exists(self, key: str) -> bool:
        """Whether there is an image of that key. The base of a build is the user's own image
        under another name and bears no mark: the store's row decides about it."""
        return self._images.exists(key)

    def list(self, vouched: Collection[str] = ()) -> Sequence[Snapshot]:
        """All snapshots. To see the mark costs a call for each image; those whose key is in
        ``vouched`` (by the store's rows) are taken for complete without one."""
        return tuple(self._images.list(frozenset(vouched)))

    def sizes(self) -> Mapping[str, int]:
        """Bytes of each snapshot with all its layers, shared ones included."""
        return self._images.sizes()

    def delete(self, keys: Iterable[str]) -> None:
        self._images.delete(keys)

    def restore(self, key: str, base: str) -> None:
        self._finishing.restore(key, base, self.capabilities)

    def inspect(self, key: str) -> ResolvedImage:
        return self._images.inspect(key)

    def image_id(self, key: str) -> str:
        """Docker's id of the snapshot. Raises ``EngineError`` if it is not there."""
        return self._images.facts(key).id

    def publish(self, key: str, name: str) -> None:
        self._images.publish(key, name)

    def claim(self, store_id: str | None, machine_id: str) -> str:
        return claims.claim(self._daemon, store_id, machine_id)

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:
        return tuple(leftovers.sweep(self._daemon, alive))

    def healthcheck(self, image: str | None) -> str:
        return health.check_health(self._daemon, self._info, image)

    def clean(self) -> None:
        self._daemon.removals.settle()
        leftovers.clean(self._daemon)

    def close(self) -> None:
        """Wait for what is still being removed. Raises ``EngineError`` if that failed."""
        try:
            self._idle.close()
        finally:
            try:
                self._daemon.removals.close()
            finally:
                self._daemon.connection.close()

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._daemon.connection.ask(lambda api: api.info())
        return found

    @cached_property
    def _platform(self) -> Platform:
        kind = self._info.get("OSType")
        if not isinstance(kind, str):
            raise EngineError("the Docker daemon does not say what its guests are")
        return by_os(kind)

    @cached_property
    def _containerd(self) -> bool:
        """Whether images lie in containerd's image store."""
        status = self._info.get("DriverStatus") or ()
        return any("io.containerd.snapshotter" in str(value) for _, value in status)
