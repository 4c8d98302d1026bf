"""Secrets of a run: files that are there while the command runs, and nowhere else.

- The values lie in a volume of their own. It is a tmpfs, in the memory of the daemon's host,
  as long as a container holds it: one of the step's own image that waits for a line, with
  ``/bin/sh``. Where the image has no such shell it is a plain volume, on the disk of the
  daemon's host, removed with the run's container.
- The container of the run gets each file by itself, read-only, at its target. A daemon of API
  1.45 or later mounts a file of a volume; an older one is told the file's path on its host.
- Values go to the daemon in a tar stream: they are in no argument, environment or
  configuration. The option ``env`` asks for a variable besides the file; that one is in the
  configuration of the run's container while it is there. ``traces`` keeps it out of the image.
- Where the image has nothing at a target the mount leaves an empty file, and folders on the
  way; ``traces`` takes them away.

A run without secrets costs nothing of all this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event
from typing import Any

from obuild.engine.destination import Destination, find_destination
from obuild.engine.docker import command
from obuild.engine.docker.attach import open_stream
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.copies.guest import Container
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import bind_mount, host_config, volume_mount
from obuild.engine.docker.secrets.files import folder_mounts, members
from obuild.engine.secretfiles import SecretFile, read_secrets
from obuild.errors import BuildError
from obuild.ir.steps import RunStep
from obuild.platforms import Platform
from obuild.values import Value, field

__all__ = ["Secrets", "SecretsMounted"]

_SUBPATH_SINCE = (1, 45)
_TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "mode=0700"}
_HOLD = ("/bin/sh", "-c", "read line")


Fill = Callable[[str, str, str, Iterator[bytes], Event], None]
"""For Windows: a container of an image, of that name, fills a volume with a stream of files."""


class SecretsMounted(Value):
    """What the container of a run gets, and which mount points are missing in its image.

    ``variables`` are assignments with secret values, ``shown`` the same without them.
    """

    mounts: Sequence[dict[str, Any]] = ()
    variables: Sequence[str] = field(default=(), repr=False)
    missing: Sequence[Destination] = ()

    @property
    def leave_traces(self) -> bool:
        """Whether there is something in what the run makes that must go."""
        return bool(self.missing or self.variables)

    @property
    def shown(self) -> list[str]:
        return [f"{assignment.partition('=')[0]}=***" for assignment in self.variables]


class Secrets:
    """Mounts the secrets of runs."""

    def __init__(self, daemon: Daemon, platform: Callable[[], Platform], fill: Fill):
        self._daemon = daemon
        self._platform = platform
        self._fill = fill

    @contextmanager
    def mounted(
        self, key: str, image: str, step: RunStep, cancel: Event
    ) -> Iterator[SecretsMounted]:
        """While the context is open the values can be had for the run of ``key``, whose
        container is made of ``image``."""
        if not step.secrets:
            yield SecretsMounted()
            return
        platform = self._platform()
        found = read_secrets(step, platform)
        variables = tuple(secret.assignment for secret in found if secret.variable is not None)
        files = [secret for secret in found if secret.target is not None]
        if variables and platform.os == "windows":
            raise BuildError(
                "on Windows a secret cannot be a variable: it would stay in the image",
                hint="leave out its option env, and read the file",
            )
        if not files:
            yield SecretsMounted(variables=variables)
            return
        name = self._daemon.names.secrets(key)
        with ExitStack() as stack:
            if platform.os == "windows":
                mounts = folder_mounts(name, files)
                stack.enter_context(self._volume(name, {}))
                self._fill(image, name, name, members("", self._names(files)), cancel)
                yield SecretsMounted(mounts, variables)
                return
            self._hold(stack, name, image, files, cancel)
            missing = tuple(self._missing(name, files))
            yield SecretsMounted(self._file_mounts(name, files), variables, missing)

    def _hold(
        self,
        stack: ExitStack,
        name: str,
        image: str,
        files: Sequence[SecretFile],
        cancel: Event,
    ) -> None:
        with ExitStack() as inner:
            if self._hold_in_memory(inner, name, image, files, cancel):
                stack.push(inner.pop_all())
                return
        self._daemon.removals.settle(name)
        self._daemon.say(lambda: command.note("the image has no shell to hold a tmpfs"))
        self._hold_on_disk(stack, name, image, files, cancel)

    def _volume(self, name: str, options: dict[str, str]) -> AbstractContextManager[None]:
        """Make the volume. At the end it goes; its removal waits behind that of the run's
        container, which is made later."""
        self._daemon.remove_container(name)  # of a run that was killed
        self._daemon.remove_volume(name)
        words = [f"--opt={option}={value}" for option, value in options.items()]
        self._daemon.say(lambda: command.line("volume", "create", *words, name))
        self._daemon.connection.ask(lambda api: api.create_volume(name, driver_opts=options))
        return self._daemon.temporary(name, lambda: self._daemon.remove_volume(name))

    def _hold_on_disk(
        self,
        stack: ExitStack,
        name: str,
        image: str,
        files: Sequence[SecretFile],
        cancel: Event,
    ) -> None:
        stack.enter_context(self._volume(name, {}))
        folder = _folder()
        self._daemon.create(name, _holder(image, name, folder, ["obuild"]))
        stack.enter_context(self._daemon.temporary_container(name))
        self._put(name, folder, files, cancel)

    def _hold_in_memory(
        self,
        stack: ExitStack,
        name: str,
        image: str,
        files: Sequence[SecretFile],
        cancel: Event,
    ) -> bool:
        """Whether the image has a shell that holds a tmpfs. It waits for a line on its
        standard input, which this process has: when that dies, however it does, so does it."""
        folder = _folder()
        stack.enter_context(self._volume(name, _TMPFS))
        config = _holder(image, name, folder, list(_HOLD))
        self._daemon.say(lambda: command.run_line(name, config))
        made = self._daemon.create(name, config)
        stack.enter_context(self._daemon.temporary_container(name))
        api = stack.enter_context(self._daemon.connection.client())
        stdin = open_stream(api, made, {"stdin": 1, "stream": 1})
        stack.callback(stdin.close)
        try:
            self._daemon.connection.patiently(lambda starter: starter.start(made), cancel)
            self._put(name, folder, files, cancel)
        except DaemonError as error:
            why = error.words
            self._daemon.say(lambda: command.note(f"the secrets cannot be held in memory: {why}"))
            return False
        state = self._daemon.inspect_container(made)
        return state is not None and bool(state["State"]["Running"])

    def _put(self, name: str, folder: str, files: Sequence[SecretFile], cancel: Event) -> None:
        root = self._platform().workdir
        archive = b"".join(members(folder, self._names(files)))
        self._daemon.say(lambda: command.line("cp", "--archive", "-", f"{name}:{root}"))
        self._daemon.connection.patiently(lambda api: api.put_archive(name, root, archive), cancel)

    def _names(self, files: Sequence[SecretFile]) -> Iterator[tuple[str, SecretFile]]:
        """What the files are called in the volume: where a file can be mounted by itself that
        does not matter."""
        for number, secret in enumerate(files):
            windows = self._platform().os == "windows"
            yield (secret.split[1] if windows else str(number)), secret

    def _file_mounts(self, volume: str, files: Sequence[SecretFile]) -> list[dict[str, Any]]:
        if self._daemon.connection.version() >= _SUBPATH_SINCE:
            return [
                volume_mount(volume, str(secret.target), read_only=True, subpath=str(number))
                for number, secret in enumerate(files)
            ]
        found = self._daemon.connection.ask(lambda api: api.inspect_volume(volume))
        path = found["Mountpoint"]
        return [
            bind_mount(f"{path}/{number}", str(secret.target))
            for number, secret in enumerate(files)
        ]

    def _missing(self, container: str, files: Sequence[SecretFile]) -> Iterator[Destination]:
        """The targets at which the image has nothing, without links on the way."""
        guest = Container(self._daemon, container)
        for secret in files:
            try:
                place = find_destination(guest, str(secret.target), directory=True)
            except BuildError as error:
                raise BuildError(
                    f"the secret {secret.id} cannot be at {secret.target}: a file or a link of"
                    " the image is in the way",
                    hint="choose another target",
                ) from error
            if place.is_folder:
                raise BuildError(
                    f"the secret {secret.id} cannot be at {secret.target}: the image has a"
                    " folder there",
                    hint="name a file in it",
                )
            if not place.blocked:
                yield place


def _folder() -> str:
    """Where the holder has the volume: a name for which no image can have prepared."""
    from secrets import token_hex

    return f"/obuild-{token_hex(8)}"


def _holder(image: str, volume: str, folder: str, argv: list[str]) -> dict[str, Any]:
    host = host_config("none")
    host["Mounts"] = [volume_mount(volume, folder)]
    return {
        "Image": image,
        "Entrypoint": argv,
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
