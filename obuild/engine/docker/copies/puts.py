"""Performing a copy: a tar stream becomes a snapshot's files.

Two ways, chosen by what they cost (the package's docstring has the figures):

- A small copy goes into a container that is created and never started, which is committed.
- A copy of many files becomes one layer of a thin load: the daemon then writes every file
  once, not twice. The stream is sent as it comes; only its length must be known before, see
  ``layers.archives``. Folders that the image has already stand in the layer with the metadata that
  they have.

If ``tar`` raises, the request ends in the middle, and with it goes all that came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from threading import Event

from obuild.engine import Capabilities, PutFiles, Snapshot
from obuild.engine.destination import find_destination
from obuild.engine.docker import command
from obuild.engine.docker.config import commit_body, committed
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.copies.guest import Container, folders_of
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.layers.archives import Layer
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.engine.docker.mounts import host_config
from obuild.engine.docker.parents import Parents
from obuild.engine.incoming import Incoming

__all__ = ["Puts"]

_SMALL = 1 << 19
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
                guest = Container(self._daemon, name)
                destination = find_destination(
                    guest, action.destination, directory=action.files.directory
                )
                incoming = Incoming(destination, action, cancel)
                start = list(incoming.take(_SMALL))
                if not incoming.ended and can.thin_load:
                    folders = [*folders_of(guest, destination), *start]
                    try:
                        return self._load(key, parent, image, _layer(folders, incoming))
                    except DaemonError:
                        self._daemon.say(lambda: command.note("the daemon did not take the layer"))
                    incoming, start = Incoming(destination, action, cancel), []
                return self._commit(key, parent, name, chain(start, incoming.rest()))

    def _load(self, key: str, parent: str, image: str, layer: Layer) -> Snapshot:
        """``image``: what the container was made of, as ``Parents`` gave it."""
        facts = self._parents.facts(parent, image)
        self._thin.load(self._daemon.names.image(key), image, facts, facts.config, layer)
        self._images.forget(key)
        return Snapshot(key, self._images.facts(key).id)

    def _commit(self, key: str, parent: str, name: str, pieces: Iterator[bytes]) -> Snapshot:
        self._daemon.put_archive(name, "/", chain(pieces, [_CLOSING]))
        base = self._images.config(parent)
        body = commit_body(base, ())
        made = self._daemon.commit(name, self._daemon.names.image(key), body)
        self._images.remember(key, committed(base, body, "", ""))
        return Snapshot(key, made)


def _layer(start: list[bytes], incoming: Incoming) -> Layer:
    """All of the stream, ``start`` before what is left of it."""
    size = sum(map(len, start)) + incoming.left() + len(_CLOSING)
    pieces = chain(start, incoming.rest(), [_CLOSING])
    return Layer(None, size, lambda: pieces, "obuild copy")
