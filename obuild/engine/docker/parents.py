"""What a step's container is made of: its parent, or the parent without what would act.

A container of an image with VOLUMEs keeps what it writes there out of the commit; one with a
HEALTHCHECK runs it. Where a parent has any of these, the container is made of a temporary
image: the same files, these fields empty. What is committed of it has them empty, too, so
only the first step on such a base pays; ``restore`` and the seal bring them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from obuild.engine import Capabilities
from obuild.engine.docker.config import cleared, needs_clearing
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.thinload import ThinLoads

__all__ = ["Parents"]


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

    @contextmanager
    def quiet(self, parent: str, key: str) -> Iterator[str]:
        """The name of an image with the files of ``parent`` in which nothing acts by itself;
        it may go when the container of ``key`` is gone."""
        name = self._daemon.names.image(parent)
        config = self._images.config(parent)
        if not needs_clearing(config) or not self._capabilities().thin_load:
            yield name
            return
        temporary = self._daemon.names.temporary(key)
        facts = self._images.facts(parent)
        with self._daemon.temporary_image(temporary):
            self._thin.load(temporary, name, facts, cleared(config))
            yield temporary
