"""Snapshots of Windows guests as sources of copies.

The same programs are at work as in Linux guests (see ``sources``), with Cygwin's tools on the
libexec volume for those of the guest. There is no other way: without tools nothing can be read.
"""

from __future__ import annotations

from contextlib import ExitStack
from threading import Event
from typing import Any

from obuild.engine.docker import command
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.sources.opening import Sources
from obuild.engine.docker.sources.served import Served
from obuild.engine.docker.sources.serving import begin
from obuild.engine.docker.sources.tools import Tools, shown
from obuild.engine.docker.windows.tools import DRIVE, WindowsTools

__all__ = ["WindowsSources"]

_SCRATCH = f"{DRIVE}/Windows/Temp"
"""There is no folder in memory; what is written goes with the container."""


class WindowsSources(Sources):
    """Opens snapshots. ``visit`` as for Linux guests."""

    def __init__(self, daemon: Daemon, images: Images, tools: WindowsTools, **others: Any):
        super().__init__(daemon, images, **others)
        self._windows_tools = tools

    def served(self, stack: ExitStack, key: str, image: str, cancel: Event) -> Served:  # noqa: ARG002
        from obuild.resources import read

        name = self.new_name()
        self._windows_tools.prepare(image, name, cancel)
        bash, folder = self._windows_tools.bash, self._windows_tools.folder
        tools = Tools(bash, DRIVE, "/", folder, _SCRATCH, drives=DRIVE.rpartition("/")[0])
        script = read("libexec", "serve.bash").decode()
        places = (self._windows_tools.manifest, tools.root, tools.scratch)
        argv = [*bash, "-c", script, "serve.bash", *places]
        config = self._windows_tools.with_path(self._windows_tools.config(image, argv))
        self._daemon.say(lambda: command.run_line(name, shown(config)))
        self._daemon.create(name, config)
        stack.enter_context(self._daemon.temporary_container(name))
        return Served(stack.enter_context(begin(self._daemon, name, cancel)), tools)
