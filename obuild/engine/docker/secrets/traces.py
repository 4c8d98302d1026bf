"""Taking away what the secrets of a run leave in its result.

The container of the run is committed under a temporary name, and only what is made of that
gets the snapshot's name.

- If there is an empty file where a secret was, and the image before had nothing there, a
  layer of whiteouts (OCI image spec, "Whiteouts") on top takes it away, and the folders on the
  way that were made for it. What the command itself put there stays.
- The classic image store keeps the environment of the container in the image's document
  (``container_config``), values of secret variables included. The image that is loaded in its
  place has a document of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

from obuild.engine.configs import Config
from obuild.engine.destination import Destination
from obuild.engine.docker import command
from obuild.engine.docker.connection import request
from obuild.engine.docker.copies.guest import Container, folders_of
from obuild.engine.docker.daemon import Daemon, ImageFacts
from obuild.engine.docker.layers.archives import Layer
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.engine.docker.mounts import host_config
from obuild.engine.docker.secrets.mounted import SecretsMounted
from obuild.engine.streams import Stream
from obuild.errors import EngineError
from obuild.source import decode, encode

__all__ = ["Traces"]

_Path = tuple[bytes, ...]
_CHUNK = 1 << 16
_END = bytes(1024)


class Traces:
    """Finishes what runs with secrets made."""

    def __init__(self, daemon: Daemon, thin: ThinLoads):
        self._daemon = daemon
        self._thin = thin

    def remove(self, key: str, config: Config, secrets: SecretsMounted, workdir: str) -> str:
        """Make the snapshot ``key``, with that configuration, of what the commit made under
        the temporary name. ``workdir`` was made for the command, not for a secret. Returns
        the image's id."""
        source, target = self._daemon.names.unfinished(key), self._daemon.names.image(key)
        with self._daemon.temporary_image(source):
            layer = None
            if secrets.missing:
                layer = self._whiteouts(key, source, secrets.missing, workdir)
            facts = self._inspect(source)
            if layer is None and not secrets.variables:
                self._daemon.tag(source, target)
                return facts.id
            self._thin.load(target, source, facts, config, layer)
        return self._inspect(target).id

    def _inspect(self, name: str) -> ImageFacts:
        found = self._daemon.inspect_image(name, note="what a run with secrets made")
        if found is None:
            raise EngineError(
                f"the image {name} is gone", hint="somebody removed it meanwhile; start again"
            )
        return found

    def _whiteouts(
        self, key: str, source: str, missing: Sequence[Destination], workdir: str
    ) -> Layer | None:
        """None if there is nothing to take away."""
        name = self._daemon.names.after_secrets(key)
        self._daemon.say(lambda: command.line("create", "--name", name, source))
        self._daemon.create(
            name, {"Image": source, "Entrypoint": ["obuild"], "HostConfig": host_config("none")}
        )
        with self._daemon.temporary_container(name):
            look = _Look(self._daemon, name, _names(workdir), [place.path for place in missing])
            gone = sorted({path for place in missing if (path := look.removable(place))})
            if not gone:
                return None
            data = b"".join(_layer(look.guest, gone))
        return Layer(sha256(data).hexdigest(), len(data), lambda: iter([data]), "obuild secrets")


class _Look:
    """What the mounts have left in a container."""

    def __init__(self, daemon: Daemon, container: str, workdir: _Path, stubs: Sequence[_Path]):
        self.guest = Container(daemon, container)
        self._daemon = daemon
        self._container = container
        self._workdir = workdir
        self._stubs = set(stubs)

    def removable(self, place: Destination) -> _Path | None:
        """The stub of a mount, or the topmost folder in which there is nothing else; None if
        the stub is not there (the command moved it), or is no stub."""
        if not self._is_stub(place.path):
            return None
        for end in range(place.existing + 1, len(place.path)):
            folder = place.path[:end]
            if folder != self._workdir[:end] and self._only_stubs(folder):
                return folder
        return place.path

    def _is_stub(self, path: _Path) -> bool:
        found = self.guest.look(path)
        if found is None or found.directory or found.link:
            return False
        member = self.guest.header(path)
        return member.isreg() and member.size == 0

    def _only_stubs(self, folder: _Path) -> bool:
        """Whether all below ``folder`` are stubs and folders on the way to them; stops to read
        at the first other name."""
        import tarfile
        from urllib.parse import quote

        wanted = {path[:end] for path in self._stubs for end in range(len(path) + 1)}
        path = f"/containers/{self._container}/archive"
        query = "path=" + quote(b"/" + b"/".join(folder), safe="/")
        with self._daemon.connection.client() as api:
            response = request(api, "GET", path, query, stream=True)
            with (
                response,
                tarfile.open(
                    fileobj=Stream(response.iter_content(_CHUNK)),
                    mode="r|",
                    encoding="utf-8",
                    errors="surrogateescape",
                ) as archive,
            ):
                # Names count from the folder that holds ``folder``.
                return all(folder[:-1] + _names(member.name) in wanted for member in archive)


def _names(path: str) -> _Path:
    return tuple(name for name in encode(path).split(b"/") if name not in (b"", b"."))


def _layer(guest: Container, gone: Iterable[_Path]) -> Iterator[bytes]:
    """A layer in which these paths are no more; it repeats what the folders above them are."""
    import tarfile

    told: set[bytes] = set()
    for path in gone:
        above = Destination(path[:-1], len(path) - 1)
        for header in folders_of(guest, above):
            if header not in told:
                told.add(header)
                yield header
        member = tarfile.TarInfo(decode(b"/".join((*path[:-1], b".wh." + path[-1]))))
        yield member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    yield _END
