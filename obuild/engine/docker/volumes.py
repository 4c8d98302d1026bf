"""Files in volumes, read and written as tar streams.

A container that is created and never started gives and takes them by the archive endpoints
of the Engine API; it is made of an image without files, so nothing of a guest takes part.
What the daemon reads out of one goes straight into another: owners, modes, kinds, hard links
and file capabilities arrive, times in whole seconds; other extended attributes do not, and
what was sparse is written in full. (``tar`` in a busybox, OBuilder's way, does the same.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

from obuild.engine import Lock
from obuild.engine.docker import command
from obuild.engine.docker.connection import DaemonError, request
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import host_config, volume_mount
from obuild.errors import Cancelled, EngineError
from obuild.ir.ops import UnixUser

if TYPE_CHECKING:
    from tarfile import TarInfo

    from obuild.engine.docker.windows.volumes import WindowsVolumes

__all__ = ["TOP", "Pieces", "Volumes", "folder"]

Pieces = Iterator[bytes]

TOP = "cache"
"""The name below which all members of a stream stand."""

_END = bytes(1024)
"""Two blocks of zeros end a tar archive (POSIX, pax)."""
_CHUNK = 1 << 20


class Volumes:
    """The volumes of a daemon. ``windows()`` is the other way to their files, where the guests
    are Windows'. ``owner`` is the name of the lock under which a volume is read
    or written; the containers for it bear that in their names."""

    def __init__(
        self,
        daemon: Daemon,
        lock: Lock,
        windows: Callable[[], WindowsVolumes | None] = lambda: None,
    ):
        self._daemon = daemon
        self._lock = lock
        self._windows = windows

    def labels(self, name: str) -> Mapping[str, str] | None:
        """None if there is no such volume."""
        return self._daemon.volume_labels(name)

    def rows(self, pattern: str, *, note: str = "") -> list[Mapping[str, Any]]:
        """What the daemon tells of the volumes whose name matches the regular expression."""
        words = ("volume", "ls", "--quiet", "--filter", f"name={pattern}")
        self._daemon.say(lambda: command.line(*words, note=note))
        found = self._daemon.connection.ask(lambda api: api.volumes(filters={"name": pattern}))
        return list(found.get("Volumes") or ())

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        self._daemon.create_volume(name, labels)

    def remove(self, name: str, owner: str | None = None) -> None:
        """What is not there is no error. If containers that a dead process made under
        ``owner`` hold the volume they go first. Raises ``DaemonError`` 409 if it is in use."""
        try:
            self._daemon.remove_volume(name)
        except DaemonError as error:
            if error.status != 409 or owner is None:
                raise
            for row in self._daemon.containers(f"^/?{self._daemon.names.transfer(owner, '')}"):
                self._daemon.remove_container(row["Names"][0].removeprefix("/"), row["Id"])
            self._daemon.remove_volume(name)

    @contextmanager
    def read(self, name: str, owner: str) -> Iterator[Pieces]:
        """The files of a volume, all below the folder ``TOP``, which is the volume's own root.

        The stream raises ``EngineError`` if it ends too early.
        """
        if (windows := self._windows()) is not None:
            with windows.read(name, self._new_name(owner)) as pieces:
                yield whole(pieces, name)
            return
        with self._container(name, owner, read_only=True) as container:
            self._daemon.say(lambda: command.line("cp", "--archive", f"{container}:/{TOP}", "-"))
            path = f"/containers/{container}/archive"
            with self._daemon.connection.client() as api:
                response = request(api, "GET", path, f"path=/{TOP}", stream=True)
                with response:
                    yield whole(response.iter_content(_CHUNK), name)

    def write(self, name: str, owner: str, pieces: Pieces, cancel: Event) -> None:
        """Unpack a stream of members below ``TOP`` into a volume."""
        if (windows := self._windows()) is not None:
            windows.write(name, self._new_name(owner), _until(pieces, cancel), cancel)
            return
        with self._container(name, owner) as container:
            self._daemon.say(lambda: command.line("cp", "--archive", "-", f"{container}:/"))
            stopping = _until(pieces, cancel)
            self._daemon.connection.patiently(
                lambda api: api.put_archive(container, "/", stopping), cancel
            )

    def copy(
        self, source: str, target: str, owner: str, cancel: Event, user: UnixUser | None = None
    ) -> None:
        """The files of one volume into another, which is empty; its root becomes ``user``'s."""
        with self.read(source, owner) as pieces:
            stream = pieces if user is None else _owned(pieces, user)
            self.write(target, owner, stream, cancel)

    def own(self, name: str, owner: str, user: UnixUser, mode: int, cancel: Event) -> None:
        """Give the root of an empty volume an owner and a mode."""
        self.write(name, owner, iter([folder(TOP, user, mode), _END]), cancel)

    @contextmanager
    def _container(self, volume: str, owner: str, *, read_only: bool = False) -> Iterator[str]:
        name = self._new_name(owner)
        host = host_config("none")
        host["Mounts"] = [volume_mount(volume, f"/{TOP}", read_only=read_only)]
        image = self._daemon.names.empty
        config = {"Image": image, "Entrypoint": ["obuild"], "HostConfig": host}
        mounts = command.mount_words(host["Mounts"])
        self._daemon.say(lambda: command.line("create", "--name", name, *mounts, image))
        try:
            made = self._daemon.create(name, config)
        except DaemonError as error:
            if error.status != 404 or "image" not in error.words.lower():
                raise
            with self._lock(self._daemon.names.empty, Event(), lambda: None):
                self._make_empty_image()
            made = self._daemon.create(name, config)
        try:
            yield name
        finally:
            # At once: a volume can only be removed when no container is left that has it.
            self._daemon.remove_container(name, made)

    def _new_name(self, owner: str) -> str:
        from secrets import token_hex

        return self._daemon.names.transfer(owner, token_hex(4))

    def _make_empty_image(self) -> None:
        name = self._daemon.names.empty
        if self._daemon.inspect_image(name, note="is it there by now?") is not None:
            return
        self._daemon.say(lambda: command.line("import", "-", name))
        self._daemon.connection.ask(
            lambda api: api.import_image_from_data(_END, repository=name, tag="latest")
        )


def folder(name: str, user: UnixUser, mode: int) -> bytes:
    """A tar header of a folder."""
    import tarfile
    import time

    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, int(time.time())
    member.uid, member.gid = user.uid, user.gid
    return member.tobuf(tarfile.GNU_FORMAT)


def whole(pieces: Pieces, what: str) -> Pieces:
    """The same pieces; raises ``EngineError`` at the end unless they end as an archive does:
    a daemon that fails in the middle of an answer just stops."""
    tail = b""
    for piece in pieces:
        tail = (tail + piece)[-len(_END) :]
        yield piece
    if tail != _END:
        raise EngineError(
            f"the daemon did not give all of the volume {what}", hint="see the daemon's log"
        )


def _until(pieces: Pieces, cancel: Event) -> Pieces:
    for piece in pieces:
        if cancel.is_set():
            raise Cancelled("cancelled")
        yield piece


def _owned(pieces: Pieces, user: UnixUser) -> Pieces:
    """The stream with another owner of its first member, the root."""
    start = b""
    for piece in pieces:
        start += piece
        member, end = _first(start)
        if member is not None:
            yield _headed(member, user) + start[end:]
            break
    yield from pieces


def _first(start: bytes) -> tuple[TarInfo | None, int]:
    """The first member, and where its header ends; None if more must come to tell."""
    import io
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(start), mode="r:") as archive:
            member = archive.next()
    except tarfile.ReadError:
        return None, 0
    return member, 0 if member is None else member.offset_data


def _headed(member: TarInfo, user: UnixUser) -> bytes:
    import tarfile

    member.uid, member.gid = user.uid, user.gid
    kept = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.")}
    member.pax_headers = kept
    return member.tobuf(tarfile.PAX_FORMAT if kept else tarfile.GNU_FORMAT)
