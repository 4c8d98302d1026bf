"""Giving snapshots the configuration they end with: no files change."""

from __future__ import annotations

from obuild.engine import Capabilities, Seal, Snapshot
from obuild.engine.configs import Config, sealed
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.engine.docker.mounts import host_config

__all__ = ["Finishing"]


class Finishing:
    """Restores and seals."""

    def __init__(self, daemon: Daemon, images: Images, thin: ThinLoads):
        self._daemon = daemon
        self._images = images
        self._thin = thin

    def restore(self, key: str, base: str, can: Capabilities) -> None:
        """See the engine's protocol. Where nothing can be loaded the configuration is left
        as the commit made it."""
        if not can.thin_load:
            return
        wanted = self._images.facts(base).config
        if self._images.config(key) == wanted:
            return
        self._daemon.removals.begin()  # no command is started any more
        facts = self._images.facts(key)
        name = self._daemon.names.image(key)
        # What is replaced keeps a name until it is removed: whoever dies in between leaves a
        # temporary image, which the next build finds, and not one without a name.
        temporary = self._daemon.names.temporary(key)
        self._daemon.removals.settle(temporary)
        self._daemon.remove_image(temporary)  # of one who died just here
        self._daemon.tag(name, temporary)
        with self._daemon.temporary_image(temporary):
            self._thin.load(name, name, facts, wanted)
        self._images.remember(key, wanted)

    def seal(self, key: str, parent: str, action: Seal, can: Capabilities) -> Snapshot:
        """See ``Engine.execute``."""
        config = sealed(self._images.config(action.base), action.config)
        name, source = self._daemon.names.image(key), self._daemon.names.image(parent)
        self._daemon.remove_image(name)  # of one who died before it was recorded
        if can.thin_load:
            self._thin.load(name, source, self._images.facts(parent), config)
        else:
            self._commit(key, source, config)
        self._images.forget(key)
        return Snapshot(key, self._images.facts(key).id)

    def _commit(self, key: str, source: str, config: Config) -> None:
        """The same by a container that never runs; it cannot take anything away."""
        name = self._daemon.names.container(key)
        self._daemon.create(
            name, {"Image": source, "Entrypoint": ["obuild"], "HostConfig": host_config("none")}
        )
        with self._daemon.temporary_container(name):
            lists: Config = {"Entrypoint": [], "Cmd": []}
            self._daemon.commit(name, self._daemon.names.image(key), {**lists, **config})
