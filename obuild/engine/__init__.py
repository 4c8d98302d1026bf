"""The border between obuild and what runs steps and keeps snapshots.

One complete step goes in, one snapshot comes out, so an engine that is sandbox and store at
once (Docker) fits as well as one that is not. What an engine cannot do is data
(``Capabilities``); nothing above asks which engine it is.

The contract, for every engine:

- ``execute`` is never called twice at once for one key (the caller holds the key's lock).
- On failure or cancellation nothing of the step remains: no container, no temporary image,
  no mount. What could not be removed then is removed by ``sweep`` at the next start.
- A snapshot exists under its key only when it is complete.
- An engine may be used from several threads at once.
- Every call ends by its deadline; an engine that stops answering is ``EngineUnavailable``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event as Flag
from typing import Protocol, runtime_checkable

from obuild.events import Emit
from obuild.ir.image import ImageConfig
from obuild.ir.manifest import Manifest
from obuild.ir.ops import User
from obuild.ir.steps import RunStep
from obuild.values import Value

__all__ = [
    "Action",
    "CacheVolume",
    "Cancel",
    "Capabilities",
    "Engine",
    "Files",
    "ImageConfig",
    "Import",
    "Limits",
    "Lock",
    "Measured",
    "PutFiles",
    "ResolvedImage",
    "RunCommand",
    "Seal",
    "Snapshot",
    "Source",
    "Waiting",
    "unnoticed",
]


class Capabilities(Value):
    """What an engine can do, found out from the engine itself."""

    name: str
    guest_os: str
    archive_endpoints: bool = True
    thin_load: bool = True
    max_layers: int | None = None


class Limits(Value):
    """Limits of a run: CPUs, memory in bytes, Windows isolation. None: the engine's default."""

    cpus: float | None = None
    memory: int | None = None
    isolation: str | None = None


class ResolvedImage(Value):
    """An image that the engine has. ``id`` is the engine's name for exactly this image.

    ``digest`` is the registry's ``sha256:…`` for it, None for an image that was never in a
    registry. ``os`` and ``architecture`` are the guest's.
    """

    reference: str
    id: str
    digest: str | None
    os: str
    architecture: str
    config: ImageConfig = ImageConfig()


class Snapshot(Value):
    """A stored result. ``id`` is the engine's name for it; ``size`` in bytes, if it is cheap."""

    key: str
    id: str
    size: int | None = None
    complete: bool = True


class Files(Protocol):
    """What a copy puts into a guest.

    ``tar(root)`` makes the stream anew at each call: a deterministic tar archive whose
    members have their names below ``root`` (a guest path in bytes, no slash at either end,
    ``b""`` for the guest's root), without the two closing blocks. The first member's own
    name may be ``root`` itself. Raises ``SourceError`` in the middle if a file differs from
    the manifest; nothing of the copy may be kept then.
    """

    directory: bool
    """Whether the destination is a directory into which the files go."""

    def tar(self, root: bytes) -> Iterator[bytes]: ...


@runtime_checkable
class Measured(Files, Protocol):
    """Files whose stream is known before it is made."""

    def length(self, root: bytes) -> int:
        """How many bytes ``tar(root)`` makes, exactly. May raise what that raises."""
        ...

    def names(self, root: bytes) -> Iterator[bytes]:
        """The names of its members."""
        ...


class Source(Protocol):
    """A snapshot, open for reading."""

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:
        """The manifests of ``sources``, with attributes, in that order.

        Sources count from the root of the snapshot; names in ``exclude`` are left out at any
        depth. Raises ``SourceError`` in the words that the build context has for it, and
        ``EngineError``.
        """
        ...

    def files(self, manifests: Sequence[Manifest], destination: str, user: User) -> Files:
        """What a copy of ``manifests``, which have attributes, puts at ``destination``.

        The stream raises ``SourceError`` if what comes is not what the manifests say.
        """
        ...


class CacheVolume(Value):
    """A cache of the store. ``sharing`` is that of BuildKit, empty for OBuilder's kind, which
    is copied for each run. ``size`` in bytes, None where the engine does not know it."""

    id: str
    name: str
    sharing: str
    size: int | None
    created: str
    in_use: bool = False


class Import(Value):
    """The snapshot is the image itself."""

    image: ResolvedImage


class RunCommand(Value):
    step: RunStep
    limits: Limits = Limits()


class PutFiles(Value):
    """Put files at ``destination``, an absolute guest path, following links on the way.

    Missing directories above it are made, mode 0755, owner 0:0.
    """

    destination: str
    files: Files


class Seal(Value):
    """The files of the parent under the configuration of the snapshot ``base``, with
    ``config`` set over it where its fields are not empty (env: added, by name)."""

    base: str
    config: ImageConfig


Action = Import | RunCommand | PutFiles | Seal

Output = Callable[[bytes], None]
Cancel = Flag
"""Set to end a step early; an engine looks at it at least every quarter of a second."""

Waiting = Callable[[str], None]
"""Told why a step has to wait, when it begins to."""

Lock = Callable[[str, Cancel, Callable[[], None]], AbstractContextManager[None]]
"""A lock by its name, against threads and processes alike: held while the context is open.
The function is called if somebody else holds it. Raises ``Cancelled`` if the flag is set."""


def unnoticed(_: str) -> None:
    """For ``Waiting``, where nobody wants to know."""


class Engine(Protocol):
    """Runs steps and keeps snapshots; see the package's docstring for the contract."""

    @property
    def capabilities(self) -> Capabilities: ...

    def resolve(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> ResolvedImage:
        """The image of that name, fetched if it is not here or ``pull`` says so.

        ``step`` numbers the ``PullProgress`` events. Raises ``ImageError``.
        """
        ...

    def execute(
        self,
        key: str,
        parent: str | None,
        action: Action,
        output: Output,
        cancel: Cancel,
        waiting: Waiting = unnoticed,
    ) -> Snapshot:
        """Perform ``action`` on the snapshot ``parent`` and keep the result under ``key``.

        ``parent`` is a key, None only for ``Import``. Output of the command goes to
        ``output`` as it comes, standard output and error in one. ``waiting`` is told of a
        cache that another build has locked. Raises ``StepFailed`` for another exit status
        than 0, ``Cancelled``, ``SourceError``, ``EngineError``.
        """
        ...

    def source(self, key: str, cancel: Cancel) -> AbstractContextManager[Source]:
        """The snapshot ``key``, to copy from. Nothing is started before it is asked."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is a complete snapshot of that key: one small question."""
        ...

    def list(self, vouched: Collection[str] = ()) -> Sequence[Snapshot]:
        """All snapshots of this store; ``complete`` is False for what bears no mark.

        Those whose key is in ``vouched`` are known to be complete: their mark need not be
        looked for.
        """
        ...

    def sizes(self) -> Mapping[str, int]:
        """Bytes of each snapshot with all its layers, shared ones included."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove snapshots, children before parents; what is not there is no error."""
        ...

    def restore(self, key: str, base: str) -> None:
        """Give the snapshot ``key`` the configuration of the snapshot ``base``, exactly.

        Steps may leave a run's user, workdir or env in a snapshot's configuration; what a
        build ends with is put right by this. Files and layers stay the same. Nothing is
        done where the configuration is right already.
        """
        ...

    def inspect(self, key: str) -> ResolvedImage:
        """The snapshot as an image. Raises ``EngineError`` if it is not there."""
        ...

    def publish(self, key: str, name: str) -> None:
        """Give the snapshot a name of the user's."""
        ...

    def claim(self, store_id: str | None, machine_id: str) -> str:
        """Mark the engine's objects of this prefix as the store's; returns the store's id.

        A store that has lost its id (None) takes over the one that the mark bears, if the
        mark is of the same machine; without a mark a new id is made. Raises ``StoreError``
        if the objects belong to another store or another machine.
        """
        ...

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:
        """Remove leftovers of steps whose key is not ``alive``; says what was removed.

        Raises ``StoreError`` if a container runs that this store cannot account for.
        """
        ...

    def caches(self) -> Sequence[CacheVolume]:
        """The caches of this store's runs, sorted by id and sharing."""
        ...

    def remove_cache(self, cache: CacheVolume) -> None:
        """Remove a cache, under its lock. Raises ``EngineError`` if it is in use."""
        ...

    def export_cache(self, cache: CacheVolume, cancel: Cancel) -> Iterator[bytes]:
        """The files of a cache as a tar stream, whole."""
        ...

    def import_cache(
        self, id: str, sharing: str, archive: Iterator[bytes], cancel: Cancel
    ) -> CacheVolume:
        """Make, or make anew, a cache of the files of a tar stream.

        Raises ``EngineError`` for a stream that is no archive, or is cut; then the cache is
        what it was before.
        """
        ...

    def healthcheck(self, image: str | None) -> str:
        """Start a container and see it work; a line about the engine. ``EngineUnavailable``."""
        ...

    def clean(self) -> None:
        """Remove every object of this store from the engine."""
        ...

    def close(self) -> None: ...
