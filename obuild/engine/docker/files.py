"""Performing a copy: a tar stream becomes a snapshot's files.

Two ways, chosen by what they cost (the package's docstring has the figures):

- A small copy goes into a container that is created and never started, which is committed.
- A copy of many files becomes one layer of a thin load: the daemon then writes every file
  once, not twice. The stream is kept in a temporary file for that, because its size and
  digest come first in what is loaded. Folders that the image has already stand in the layer
  with the metadata that they have.

A stream too big for the temporary file goes the first way, as it comes. If ``tar`` raises,
the request ends in the middle, and with the container goes all that came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from threading import Event
from typing import IO

from obuild.engine import Capabilities, PutFiles, Snapshot
from obuild.engine.docker import command
from obuild.engine.docker.archives import Layer
from obuild.engine.docker.config import commit_body, committed
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.destination import Guest, find_destination
from obuild.engine.docker.images import Images
from obuild.engine.docker.incoming import Incoming, folders_of
from obuild.engine.docker.parents import Parents
from obuild.engine.docker.runs import host_config
from obuild.engine.docker.thinload import ThinLoads
from obuild.errors import BuildError

__all__ = ["Puts"]

_SMALL = 1 << 19
_SPOOLED = 256 << 20
_CHUNK = 1 << 20
_CLOSING = bytes(1024)


class Puts:
    """Puts files into snapshots."""

    def __init__(self, daemon: Daemon, images: Images, parents: Parents, thin: ThinLoads):
        self._daemon = daemon
        self._images = images
        self._parents = parents
        self._thin = thin

    def put(
        self, key: str, parent: str, action: PutFiles, cancel: Event, can: Capabilities
    ) -> Snapshot:
        """See ``Engine.execute``."""
        name = self._daemon.names.container(key)
        with self._parents.quiet(parent, key) as image:
            config = {"Image": image, "Entrypoint": ["obuild"], "HostConfig": host_config("none")}
            self._daemon.say(lambda: command.line("create", "--name", name, image))
            self._daemon.create(name, config)
            with self._daemon.temporary_container(name):
                guest = Guest(self._daemon, name)
                destination = find_destination(
                    guest, action.destination, directory=action.files.directory
                )
                incoming = Incoming(destination, action, cancel)
                start = list(incoming.take(_SMALL))
                if incoming.ended or not can.thin_load:
                    return self._commit(key, parent, name, chain(start, incoming.rest()))
                folders = b"".join(folders_of(guest, destination))
                return self._large(key, parent, name, folders, start, incoming)

    def _large(
        self,
        key: str,
        parent: str,
        name: str,
        folders: bytes,
        start: list[bytes],
        incoming: Incoming,
    ) -> Snapshot:
        import tempfile

        with tempfile.TemporaryFile(prefix="obuild-") as spool:
            pieces = chain([folders], start, incoming.take(_SPOOLED), _closing(incoming))
            digest = _keep(spool, pieces)
            if incoming.ended:
                layer = Layer(digest, spool.tell(), lambda: _read(spool, 0), "obuild copy")
                try:
                    return self._load(key, parent, layer)
                except DaemonError:
                    self._daemon.say(lambda: command.note("the daemon did not take the layer"))
            kept = _read(spool, len(folders))
            return self._commit(key, parent, name, chain(kept, incoming.rest()))

    def _load(self, key: str, parent: str, layer: Layer) -> Snapshot:
        names = self._daemon.names
        facts = self._images.facts(parent)
        self._thin.load(names.image(key), names.image(parent), facts, facts.config, layer)
        self._images.forget(key)
        return Snapshot(key, self._images.facts(key).id)

    def _commit(self, key: str, parent: str, name: str, pieces: Iterator[bytes]) -> Snapshot:
        self._daemon.put_archive(name, "/", chain(pieces, [_CLOSING]))
        base = self._images.config(parent)
        body = commit_body(base, ())
        made = self._daemon.commit(name, self._daemon.names.image(key), body)
        self._images.remember(key, committed(base, body, "", ""))
        return Snapshot(key, made)


def _closing(incoming: Incoming) -> Iterator[bytes]:
    if incoming.ended:
        yield _CLOSING


def _keep(spool: IO[bytes], pieces: Iterator[bytes]) -> str:
    """Write the pieces; the sha256 of it all, in hex."""
    from hashlib import sha256

    digest = sha256()
    for piece in pieces:
        digest.update(piece)
        try:
            spool.write(piece)
        except OSError as error:
            raise BuildError(
                f"the files of the copy cannot be kept for a moment: {error.strerror}",
                hint="TMPDIR can name a folder with more space",
            ) from error
    return digest.hexdigest()


def _read(spool: IO[bytes], start: int) -> Iterator[bytes]:
    spool.seek(start)
    while piece := spool.read(_CHUNK):
        yield piece
