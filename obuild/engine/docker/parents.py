"""What a step's container is made of: its parent, or a copy of it that is fit for that.

A container of an image with VOLUMEs keeps what it writes there out of the commit; one with a
HEALTHCHECK runs it. And on an image of too many layers nothing can be committed at all. Where
a parent has any of these, the container is made of a temporary image: the same files, these
fields empty, the upper layers joined (see ``layers.flatten``). What is committed of it has the
fields empty, too, so only the first step on such a base pays; ``restore`` and the seal bring
them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from obuild.engine import Capabilities
from obuild.engine.configs import Config
from obuild.engine.docker import command
from obuild.engine.docker.config import cleared, needs_clearing
from obuild.engine.docker.daemon import Daemon, ImageFacts
from obuild.engine.docker.images import Images
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.errors import EngineError
from obuild.values import replace

__all__ = ["Parents"]

KEPT = 24
"""Layers that are never joined, the lowest: those of most base images, which are shared."""


class Parents:
    """Images for containers of steps."""

    def __init__(
        self,
        daemon: Daemon,
        images: Images,
        thin: ThinLoads,
        capabilities: Callable[[], Capabilities],
    ):
        self._daemon = daemon
        self._images = images
        self._thin = thin
        self._capabilities = capabilities
        self._lock = Lock()
        self._most_layers: dict[str, int] = {}

    @contextmanager
    def quiet(self, parent: str, key: str) -> Iterator[str]:
        """The name of an image with the files of ``parent`` on which a step can stand, and in
        which nothing acts by itself; it may go when the container of ``key`` is gone."""
        name = self._daemon.names.image(parent)
        if not self._capabilities().thin_load:
            with self._named(name, key) as temporary:
                yield temporary
            return
        config = self._images.config(parent)
        full = self._is_full(parent)
        self._grow(key, parent, full=full)
        if not (full or needs_clearing(config)):
            yield name
            return
        temporary = self._daemon.names.temporary(key)
        facts = self._images.facts(parent)
        self._daemon.removals.settle(temporary)
        self._daemon.remove_image(temporary)  # of one who died just here
        with self._daemon.temporary_image(temporary):
            if full:
                self._join(temporary, name, facts, cleared(config))
            else:
                self._thin.load(temporary, name, facts, cleared(config))
            yield temporary

    @contextmanager
    def _named(self, name: str, key: str) -> Iterator[str]:
        """Where no image can be put together, the parent itself under one more name, so that
        it cannot go meanwhile; with the questions that OBuilder asks."""
        temporary = self._daemon.names.temporary(key)
        self._daemon.tag(name, temporary)
        with self._daemon.temporary_image(temporary):
            self._daemon.find_container(self._daemon.names.container(key))
            yield temporary

    def config(self, parent: str, image: str) -> Config:
        """The configuration that a commit on ``image``, which ``quiet`` gave, shall have."""
        config = self._images.config(parent)
        if self._capabilities().thin_load:
            return config
        entrypoint, cmd = self._daemon.commands(image)
        return {**config, "Entrypoint": entrypoint, "Cmd": cmd}

    def facts(self, parent: str, image: str) -> ImageFacts:
        """What the image is that ``quiet`` gave for ``parent``, with the parent's own
        configuration: on its layers a snapshot can be loaded."""
        facts = self._images.facts(parent)
        if image == self._daemon.names.image(parent):
            return facts
        found = self._daemon.inspect_image(image)
        if found is None:
            raise EngineError(
                f"the image {image} is gone", hint="somebody removed it meanwhile; start again"
            )
        return replace(found, config=facts.config)

    def look_again(self, key: str) -> None:
        """The snapshot has got more than the one layer of a step."""
        with self._lock:
            self._most_layers.pop(key, None)

    def _join(self, temporary: str, name: str, facts: ImageFacts, config: Config) -> None:
        from obuild.engine.docker.layers.flatten import joined_layer

        layers = len(facts.layers)
        self._daemon.say(lambda: command.note(f"{name} has {layers} layers: joining most of them"))
        layer = joined_layer(lambda: self._daemon.save(name), layers, KEPT)
        self._thin.load(temporary, name, facts, config, layer, lowest=KEPT)

    def _is_full(self, parent: str) -> bool:
        """Whether there is no room for one more layer. To look at each parent would cost 3 ms
        a step, so it is looked at only where there may be as many layers."""
        most = self._capabilities().max_layers
        if most is None or self._layers(parent) < most:
            return False
        self._note(parent, len(self._images.facts(parent).layers))
        return self._layers(parent) >= most

    def _grow(self, key: str, parent: str, *, full: bool) -> None:
        """``key`` will be one layer more than what it stands on."""
        if self._capabilities().max_layers is not None:
            self._note(key, (KEPT + 1 if full else self._layers(parent)) + 1)

    def _layers(self, parent: str) -> int:
        """The layers of a snapshot, at most: a step that changed no files added none."""
        with self._lock:
            known = self._most_layers.get(parent)
        if known is None:
            known = len(self._images.facts(parent).layers)
            self._note(parent, known)
        return known

    def _note(self, key: str, layers: int) -> None:
        with self._lock:
            self._most_layers[key] = layers
