"""Snapshots as sources of copies.

The tools of the guest make the manifest and send the files, where it has them: Bash, coreutils,
GNU tar. One container serves both; it is started when it is first asked, and waits on its
standard input, which this process holds, so it ends when the process does. Measured with
20,000 files, 100 MB: tar 0.5-1.2 s, the daemon's archive endpoint 2.9-3.8 s. Where there are no
tools, or the source has what Docker itself puts into containers, the endpoint is read.

Either way the files are checked as they pass (``sourcefiles``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from secrets import token_hex
from threading import Event

from obuild.context import refusals
from obuild.context.placing import owner_of
from obuild.engine import Capabilities
from obuild.engine.docker import command
from obuild.engine.docker.config import cleared, needs_clearing
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.layers.thinload import ThinLoads
from obuild.engine.docker.libexec import Libexec
from obuild.engine.docker.mounts import host_config
from obuild.engine.docker.sources.archived import Archived, is_docker_s
from obuild.engine.docker.sources.files import Reader, SourceFiles
from obuild.engine.docker.sources.served import Served
from obuild.engine.docker.sources.serving import ToolsMissing, begin, untrue
from obuild.engine.docker.sources.tools import linux_tools, serving_config, shown
from obuild.ir.manifest import Manifest
from obuild.ir.ops import User

__all__ = ["OpenSource", "Sources"]


class Sources:
    """Opens snapshots. ``visit`` names the containers' owner, of which the store holds a lock."""

    def __init__(
        self,
        daemon: Daemon,
        images: Images,
        thin: ThinLoads,
        libexec: Libexec,
        capabilities: Callable[[], Capabilities],
        visit: str | None,
    ):
        self._daemon = daemon
        self._images = images
        self._thin = thin
        self._libexec = libexec
        self._capabilities = capabilities
        self._visit = visit or token_hex(8)
        self._numbers = count(1)

    @contextmanager
    def open(self, key: str, cancel: Event) -> Iterator[OpenSource]:
        """See ``obuild.engine.Engine.source``."""
        with ExitStack() as stack:
            yield OpenSource(_Ways(self, stack, key, cancel))

    def new_name(self) -> str:
        """Of a container for copies."""
        return self._daemon.names.copy(self._visit, next(self._numbers))

    @property
    def has_archives(self) -> bool:
        return self._capabilities().archive_endpoints

    @contextmanager
    def quiet(self, key: str, name: str) -> Iterator[str]:
        """The name of the snapshot's image, or of the same in which nothing acts by itself."""
        image, config = self._daemon.names.image(key), self._images.config(key)
        if not needs_clearing(config) or not self._capabilities().thin_load:
            yield image
            return
        temporary = self._daemon.names.temporary_copy(name)
        with self._daemon.temporary_image(temporary):
            self._thin.load(temporary, image, self._images.facts(key), cleared(config))
            yield temporary

    def archived(self, stack: ExitStack, image: str, cancel: Event) -> Reader:
        """Through the archive endpoint; the container goes with the stack."""
        name = self.new_name()
        config = {"Image": image, "Entrypoint": ["obuild"], "HostConfig": host_config("none")}
        self._daemon.say(lambda: command.line("create", "--name", name, image))
        self._daemon.create(name, config)
        stack.enter_context(self._daemon.temporary_container(name))
        return Archived(self._daemon, name, cancel)

    def served(self, stack: ExitStack, key: str, image: str, cancel: Event) -> Reader:
        """By the tools of the guest. Raises ``ToolsMissing``."""
        name = self.new_name()
        tools, volume = linux_tools(), self._libexec.ensure_volume()
        program = self._libexec.program
        config = serving_config(image, self._images.config(key), tools, volume, program)
        self._daemon.say(lambda: command.run_line(name, shown(config)))
        self._daemon.create(name, config)
        stack.enter_context(self._daemon.temporary_container(name))
        self._libexec.check(name, tools.libexec, image, self.new_name())
        try:
            serving = stack.enter_context(begin(self._daemon, name, cancel))
        except DaemonError as error:
            # Words of runc, of several ages, for a Bash that is missing or cannot be run.
            words = error.words.lower()
            if "exec" in words and "bash" in words:
                raise ToolsMissing(error.words) from None
            raise
        return Served(serving, tools)


class _Ways:
    """The ways to the files of one snapshot, chosen when they are needed."""

    def __init__(self, sources: Sources, stack: ExitStack, key: str, cancel: Event):
        self._sources = sources
        self._stack = stack
        self._key = key
        self._cancel = cancel
        self._image: str | None = None

    def first(self, paths: Sequence[str]) -> Reader:
        """For sources at these clean paths."""
        image = self._quiet()
        if self._sources.has_archives and any(is_docker_s(path) for path in paths):
            return self._sources.archived(self._stack, image, self._cancel)
        try:
            return self._sources.served(self._stack, self._key, image, self._cancel)
        except ToolsMissing as missing:
            return self.other(missing)

    def other(self, missing: ToolsMissing) -> Reader:
        """Where the guest has not what it needs. Raises ``SourceError`` if there is none."""
        if not self._sources.has_archives:
            raise untrue("its bash, coreutils or tar are missing", str(missing)) from None
        return self._sources.archived(self._stack, self._quiet(), self._cancel)

    def _quiet(self) -> str:
        if self._image is None:
            quiet = self._sources.quiet(self._key, self._sources.new_name())
            self._image = self._stack.enter_context(quiet)
        return self._image


class OpenSource:
    """A snapshot, open for reading."""

    def __init__(self, ways: _Ways):
        self._ways = ways
        self._reader: Reader | None = None

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:
        """See ``obuild.engine.Source``."""
        for source in sources:
            if "\0" in source:  # no argument can have it, nor a name
                raise refusals.missing(source, None)
        paths = ["/".join(p for p in s.split("/") if p not in ("", ".")) for s in sources]
        try:
            return self._of(paths).manifest(sources, exclude)
        except ToolsMissing as missing:
            self._reader = self._ways.other(missing)
            return self._reader.manifest(sources, exclude)

    def files(self, manifests: Sequence[Manifest], destination: str, user: User) -> SourceFiles:
        """See ``obuild.engine.Source``."""
        paths = [top.path for top in manifests]
        return SourceFiles(lambda: self._of(paths), manifests, destination, owner_of(user))

    def _of(self, paths: Sequence[str]) -> Reader:
        if self._reader is None:
            self._reader = self._ways.first(paths)
        return self._reader
