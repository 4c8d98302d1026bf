"""Files in volumes on Windows, where archive endpoints do not reach them.

OBuilder's way: a container with the volume runs tar, reading or writing a stream. The tar is that
of the tools, which knows links and permissions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from obuild.engine.docker import command
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import volume_mount
from obuild.engine.docker.talking import failed, talk
from obuild.engine.docker.windows.tools import DRIVE, WindowsTools

__all__ = ["WindowsVolumes"]


class WindowsVolumes:
    """Streams in and out of volumes, all members below the folder ``top``, the volume's root.

    ``image`` tells what the containers are made of: some image for Windows.
    """

    def __init__(self, daemon: Daemon, tools: WindowsTools, image: Callable[[], str], top: str):
        self._daemon = daemon
        self._tools = tools
        self._image = image
        self._top = top

    @contextmanager
    def read(self, volume: str, name: str) -> Iterator[Iterator[bytes]]:
        """The stream of a container called ``name``; it raises ``EngineError`` if tar fails."""
        argv = [self._tools.tool("tar.exe"), "--format=gnu", "-cf", "-", "-C", DRIVE, self._top]
        with self._container(volume, name, argv, Event(), read_only=True):

            def pieces() -> Iterator[bytes]:
                with talk(self._daemon, name, Event()) as talking:
                    yield from talking.output()
                    status, words = talking.finish()
                if status:
                    raise failed(f"reading the volume {volume}", status, words)

            yield pieces()

    def write(self, volume: str, name: str, stream: Iterator[bytes], cancel: Event) -> None:
        argv = [self._tools.tool("tar.exe"), "-xpf", "-", "-C", DRIVE]
        with (
            self._container(volume, name, argv, cancel),
            talk(self._daemon, name, cancel, stream) as talking,
        ):
            for _ in talking.output():
                pass
            status, words = talking.finish()
        if status:
            raise failed(f"writing the volume {volume}", status, words)

    @contextmanager
    def _container(
        self, volume: str, name: str, argv: list[str], cancel: Event, *, read_only: bool = False
    ) -> Iterator[None]:
        image = self._image()
        self._tools.prepare(image, name, cancel)
        mount = volume_mount(volume, f"C:/{self._top}", read_only=read_only)
        config: dict[str, Any] = self._tools.config(image, argv, mounts=(mount,))
        self._daemon.say(lambda: command.run_line(name, config, removed=True))
        made = self._daemon.create(name, config)
        try:
            yield
        finally:
            # At once: a volume can only be removed when no container is left that has it.
            self._daemon.remove_container(name, made)
