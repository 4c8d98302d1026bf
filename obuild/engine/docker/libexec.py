"""The volume with the programs that run in guests, which also bears the mark of the store.

It holds ``manifest.bash``, for OBuilder, and the same under a name with its digest, which is
the one that obuild runs. A volume can be changed by anybody who may use the daemon, so what is
in it is looked at once in each visit, through a container that is created and not started yet.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from threading import Lock
from urllib.parse import quote

from obuild.engine.docker import command
from obuild.engine.docker.connection import DaemonError, request
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import host_config, volume_mount
from obuild.resources import read

__all__ = ["Libexec"]

_NAME = "manifest.bash"
_CHUNK = 1 << 16
_FOLDER = "/.obuild-libexec"


class Libexec:
    """``labels()`` are those that the volume must bear if it has to be made anew."""

    def __init__(self, daemon: Daemon, labels: Callable[[], Mapping[str, str]]):
        self._daemon = daemon
        self._labels = labels
        self._lock = Lock()
        self._checked = False

    @cached_property
    def program(self) -> str:
        """The name of the script in the volume."""
        return f"manifest-{sha256(self._content).hexdigest()}.bash"

    @cached_property
    def _content(self) -> bytes:
        return read("libexec", _NAME)

    def ensure_volume(self) -> str:
        """The name of the volume, which is made if somebody has removed it."""
        name = self._daemon.names.libexec
        with self._lock:
            if not self._checked and self._daemon.volume_labels(name) is None:
                self._daemon.create_volume(name, self._labels())
        return name

    def check(self, container: str, folder: str, image: str, name: str) -> None:
        """See that the script is right, through ``container``, where the volume is mounted at
        ``folder``; if it is not, write it, through another of that name, made of ``image``."""
        with self._lock:
            if self._checked:
                return
            if self._read(container, f"{folder}/{self.program}") != self._content:
                self._write(image, name)
            self._checked = True

    def _read(self, container: str, path: str) -> bytes | None:
        """The content of the file at ``path``, None if there is none, or something else."""
        import tarfile

        limit = len(self._content) + 8 * tarfile.BLOCKSIZE
        where = f"/containers/{container}/archive"
        try:
            with (
                self._daemon.connection.client() as api,
                request(api, "GET", where, f"path={quote(path)}", stream=True) as response,
            ):
                found = b""
                for chunk in response.iter_content(_CHUNK):
                    found += chunk
                    if len(found) > limit + tarfile.RECORDSIZE:
                        return None
        except DaemonError as error:
            if error.status == 404:
                return None
            raise
        with tarfile.open(fileobj=io.BytesIO(found), mode="r:") as archive:
            member = archive.next()
            if member is None or not member.isreg() or member.mode & 0o022:
                return None
            content = archive.extractfile(member)
            return content.read() if content else None

    def _write(self, image: str, name: str) -> None:
        volume = self._daemon.names.libexec
        host = {**host_config("none"), "Mounts": [volume_mount(volume, _FOLDER)]}
        config = {"Image": image, "Entrypoint": ["obuild"], "HostConfig": host}
        self._daemon.say(lambda: command.line("create", "--name", name, image))
        self._daemon.create(name, config)
        with self._daemon.temporary_container(name):
            self._daemon.put_archive(name, _FOLDER, self._archive())

    def _archive(self) -> Iterator[bytes]:
        import tarfile

        for name in (_NAME, self.program):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(self._content), 0o555
            yield member.tobuf(tarfile.GNU_FORMAT)
            yield self._content + bytes(-len(self._content) % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)
