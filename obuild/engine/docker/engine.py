"""The Docker engine: the parts of this package behind the engine's protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from obuild.engine import (
    Action,
    CacheVolume,
    Cancel,
    Capabilities,
    Import,
    Lock,
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
from obuild.engine.docker import claims, health, leftovers
from obuild.engine.docker.address import find_address
from obuild.engine.docker.caches.mounted import Caches
from obuild.engine.docker.caches.publications import Publications
from obuild.engine.docker.caches.stock import Stock
from obuild.engine.docker.connection import Connection
from obuild.engine.docker.copies.puts import Puts
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.finishing import Finishing
from obuild.engine.docker.idle import Idle
from obuild.engine.docker.images import Images
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.engine.docker.libexec import Libexec
from obuild.engine.docker.names import Names
from obuild.engine.docker.parents import Parents
from obuild.engine.docker.runs import Runs
from obuild.engine.docker.secrets.mounted import Secrets
from obuild.engine.docker.secrets.traces import Traces
from obuild.engine.docker.sources.opening import Sources
from obuild.engine.docker.volumes import Volumes
from obuild.engine.docker.windows import guest
from obuild.errors import Cancelled, EngineError, ImageError
from obuild.events import Emit
from obuild.platforms import WINDOWS, Platform, by_os

if TYPE_CHECKING:
    from obuild.engine.docker.windows.puts import WindowsPuts
    from obuild.engine.docker.windows.tools import WindowsTools
    from obuild.engine.docker.windows.volumes import WindowsVolumes

__all__ = ["DockerEngine"]

_TIMEOUT = 60.0
_MAX_LAYERS = 124


def _alone(_name: str, _cancel: Cancel, _waiting: Callable[[], None]) -> nullcontext[None]:
    """For an engine that nobody else uses."""
    return nullcontext()


class DockerEngine:
    """Runs steps in containers of a Docker daemon and keeps snapshots as its images.

    ``prefix`` begins the names of all objects. ``host`` None: the daemon that ``environment``
    (what ``os.environ`` holds) and the docker contexts name. ``visit`` names what helps a
    whole build along (see ``idle``); None: nothing does. ``timeout``: seconds in which the
    daemon must answer. ``lock`` locks caches. With ``verbose`` every call is emitted as
    ``EngineCalled``. Nothing is asked of the daemon before the first call. How many steps are
    in work at once is up to the caller. For Windows guests: ``tools`` is the archive of the
    libexec volume's tools, ``isolation`` that of containers which no run's limits are for.
    """

    def __init__(
        self,
        prefix: str,
        *,
        host: str | None = None,
        environment: Mapping[str, str] | None = None,
        emit: Emit,
        lock: Lock | None = None,
        visit: str | None = None,
        timeout: float = _TIMEOUT,
        verbose: bool = False,
        tools: str | None = None,
        isolation: str | None = None,
    ):
        connection = Connection(find_address(host, environment or {}), timeout)
        self._daemon = Daemon(connection, Names(prefix), emit, verbose=verbose)
        self._images = Images(self._daemon)
        thin = ThinLoads(self._daemon, lambda: self._containerd)
        parents = Parents(self._daemon, self._images, thin, lambda: self.capabilities)
        self._idle = Idle(self._daemon, visit)
        volumes = Volumes(self._daemon, lock or _alone, lambda: self._windows_volumes)
        publications = Publications(volumes)
        self._stock = Stock(self._daemon, volumes, publications, lock or _alone)
        self._runs = Runs(
            self._daemon,
            self._images,
            parents,
            lambda: self._platform,
            self._idle,
            Caches(self._daemon, volumes, publications, lock or _alone, lambda: self._platform),
            Secrets(
                self._daemon,
                lambda: self._platform,
                lambda *arguments: self._windows_tools.unpack(*arguments),
            ),
            Traces(self._daemon, thin),
        )
        self._puts = Puts(self._daemon, self._images, parents, thin)
        self._finishing = Finishing(self._daemon, self._images, thin)
        self._parents = parents
        self._mark: Mapping[str, str] = {}
        self._libexec = Libexec(self._daemon, lambda: self._mark)
        self._sources = Sources(
            self._daemon, self._images, thin, self._libexec, lambda: self.capabilities, visit
        )
        self._windows_options = tools, isolation
        self._thin, self._visit = thin, visit

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
        found = self._find(reference, platform, emit, step, pull=pull)
        if found.os and by_os(found.os) is not self._platform:
            raise ImageError(
                f"the image {reference} is for {found.os}; the guests of this Docker daemon are"
                f" for {self._platform.os}",
                hint="name another image, or another daemon in DOCKER_HOST",
            )
        return found

    def execute(
        self,
        key: str,
        parent: str | None,
        action: Action,
        output: Output,
        cancel: Cancel,
        waiting: Waiting = unnoticed,
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
                if self._windows:
                    action = guest.fitted(action)
                return self._runs.run(key, parent, action, output, cancel, waiting)
            case PutFiles():
                if self._windows:
                    return self._windows_puts.put(key, parent, action, cancel)
                return self._puts.put(key, parent, action, cancel, self.capabilities)
            case Seal():
                return self._finishing.seal(key, parent, action, self.capabilities)

    def source(self, key: str, cancel: Cancel) -> AbstractContextManager[Source]:
        sources = self._windows_sources if self._windows else self._sources
        return sources.open(key, cancel)

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
        return self._images.sizes(each=self._containerd)

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
        found = claims.claim(self._daemon, store_id, machine_id)
        self._mark = claims.mark(found, machine_id)
        return found

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:
        left = leftovers.sweep(self._daemon, alive, named_last=self._containerd)
        return (*left, *self._stock.sweep(alive))

    def caches(self) -> Sequence[CacheVolume]:
        return self._stock.list()

    def remove_cache(self, cache: CacheVolume) -> None:
        self._stock.remove(cache)

    def export_cache(self, cache: CacheVolume, cancel: Cancel) -> Iterator[bytes]:
        return self._stock.take_out(cache, cancel)

    def import_cache(
        self, id: str, sharing: str, archive: Iterator[bytes], cancel: Cancel
    ) -> CacheVolume:
        return self._stock.put_in(id, sharing, archive, cancel)

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

    def _find(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> ResolvedImage:
        if not self._windows or pull:
            return self._images.resolve(reference, platform, emit, step, pull=pull)
        # As OBuilder does it; a Windows base is patched each month, and must fit its host.
        try:
            return self._images.resolve(reference, platform, emit, step, pull=True)
        except ImageError:
            if not self._images.is_here(reference):
                raise
            return self._images.resolve(reference, platform, emit, step, pull=False)

    @cached_property
    def _windows_puts(self) -> WindowsPuts:
        from obuild.engine.docker.windows.puts import WindowsPuts  # few have such guests

        return WindowsPuts(self._daemon, self._images, self._parents, self._windows_tools)

    @cached_property
    def _windows_sources(self) -> Sources:
        from obuild.engine.docker.windows.sources import WindowsSources

        return WindowsSources(
            self._daemon,
            self._images,
            self._windows_tools,
            thin=self._thin,
            libexec=self._libexec,
            capabilities=lambda: self.capabilities,
            visit=self._visit,
        )

    @cached_property
    def _windows_volumes(self) -> WindowsVolumes | None:
        if not self._windows:
            return None
        from obuild.engine.docker.volumes import TOP
        from obuild.engine.docker.windows.volumes import WindowsVolumes

        return WindowsVolumes(self._daemon, self._windows_tools, self._images.any, TOP)

    @cached_property
    def _windows_tools(self) -> WindowsTools:
        from obuild.engine.docker.windows.tools import WindowsTools

        return WindowsTools(self._daemon, *self._windows_options)

    @property
    def _windows(self) -> bool:
        return self._platform is WINDOWS

    @cached_property
    def _containerd(self) -> bool:
        """Whether images lie in containerd's image store."""
        status = self._info.get("DriverStatus") or ()
        return any("io.containerd.snapshotter" in str(value) for _, value in status)
