"""The calls of the daemon that obuild makes, each with its command line for ``-v``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from typing import Any

from obuild.engine.configs import Config, tidy
from obuild.engine.docker import command
from obuild.engine.docker.config import MARK, bears_mark
from obuild.engine.docker.connection import Connection, DaemonError, request
from obuild.engine.docker.names import Names
from obuild.engine.docker.removals import Removals
from obuild.errors import EngineError, EngineUnavailable
from obuild.events import Emit, EngineCalled, Warned
from obuild.values import Value

__all__ = ["Daemon", "ImageFacts", "image_facts"]

_CHUNK = 1 << 20
_SAVING = 1800


class ImageFacts(Value):
    """What an inspection of an image tells. ``layers`` are digests of uncompressed tars.

    ``descriptor`` (media type, digest, size) is known where images lie in containerd's store.
    """

    id: str
    config: Config
    layers: tuple[str, ...]
    os: str
    architecture: str
    variant: str
    os_version: str
    comment: str
    digests: tuple[str, ...]
    tags: tuple[str, ...]
    descriptor: Mapping[str, Any] | None

    @property
    def marked(self) -> bool:
        return bears_mark(self.comment)


class Daemon:
    """One daemon as one store uses it."""

    def __init__(self, connection: Connection, names: Names, emit: Emit, *, verbose: bool):
        self.connection = connection
        self.names = names
        self.removals = Removals(connection.timeout)
        self._emit = emit
        self._verbose = verbose
        self._made: dict[str, str] = {}

    def warn(self, message: str) -> None:
        """Tell of what the user should know, though the build goes on."""
        self._emit(Warned(message))

    def say(self, make: Callable[[], EngineCalled]) -> None:
        """Tell of a call, if anybody wants to hear of it."""
        if self._verbose:
            self._emit(make())

    def inspect_image(self, name: str, *, note: str = "") -> ImageFacts | None:
        """None if there is no such image. ``note``: see ``EngineCalled``."""
        self.say(lambda: command.line("inspect", "--type=image", "--", name, note=note))
        found = self._known(lambda api: api.inspect_image(name))
        if found is None and not note:
            self.say(lambda: command.answer(f"Error: No such image: {name}"))
        return None if found is None else image_facts(found)

    def image_size(self, name: str) -> int | None:
        """The bytes of an image, None if there is none of that name."""
        words = ("inspect", "--type=image", "--format={{ .Size }}", "--")
        self.say(lambda: command.line(*words, name))
        found = self._known(lambda api: api.inspect_image(name))
        return None if found is None else int(found.get("Size") or 0)

    def commands(self, name: str) -> tuple[Any, Any]:
        """Entrypoint and Cmd of an image, None for what it has not. One call; told as the two
        that OBuilder makes."""
        for field in ("Entrypoint", "Cmd"):
            words = ("inspect", "--type=image", f"--format={{{{json .Config.{field} }}}}", "--")
            self.say(lambda words=words: command.line(*words, name))  # type: ignore[misc]
        found = self.connection.ask(
            lambda api: api.inspect_image(name)  # type: ignore[no-untyped-call]
        )
        config = found.get("Config") or {}
        return config.get("Entrypoint"), config.get("Cmd")

    def tag(self, image: str, name: str, *, said: str = "") -> None:
        """``name`` may end in a tag; else it is ``latest``. ``said``: the image as the user
        calls it."""
        from docker.utils import parse_repository_tag

        self.say(lambda: command.line("tag", said or image, name))
        repository, tag = parse_repository_tag(name)
        self.connection.ask(lambda api: api.tag(image, repository, tag or "latest"))

    def remove_image(self, name: str) -> bool:
        """Whether there was such an image."""
        self.say(lambda: command.line("image", "rm", name))
        found = self._known(lambda api: api.remove_image(name) or [])
        for row in found or ():
            self._say_removed(row)
        return found is not None

    def images(self, pattern: str, *, note: str = "") -> list[dict[str, Any]]:
        """A row for each image that has a name of that pattern."""
        words = ("images", "--format={{ .Repository }}", pattern)
        self.say(lambda: command.line(*words, note=note))
        wanted = {"reference": [pattern]}
        found = self.connection.ask(lambda api: api.images(filters=wanted))
        return list(found)

    def untagged(self) -> list[dict[str, Any]]:
        """A row for each image without a name."""
        self.say(lambda: command.line("images", "--filter=dangling=true", "--quiet"))
        found = self.connection.ask(lambda api: api.images(filters={"dangling": True}))
        return list(found)

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """A container's id. Raises ``EngineError`` if somebody has one of that name."""
        self.removals.settle(name)
        try:
            made = self.connection.ask(
                lambda api: api.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
            )
        except DaemonError as error:
            if error.status != 409:
                raise
            raise EngineError(
                f"the container {name} is there already: another obuild or OBuilder works on"
                " this step, on this or another machine",
                hint=f"wait for it, or remove it: docker rm --force {name}",
            ) from error
        self._made[name] = str(made["Id"])
        return self._made[name]

    def remove_container(self, name: str, container: str | None = None) -> None:
        """With its anonymous volumes; what is gone already is no error. ``container`` is the
        id of the one that is meant, where another may have got the name meanwhile."""
        self.say(lambda: command.line("rm", "--force", "--", name))
        try:
            self.connection.patiently(
                lambda api: api.remove_container(container or name, v=True, force=True),
            )
        except DaemonError as error:
            if error.status != 404 and "already in progress" not in error.words:
                raise

    def commit(
        self, container: str, image: str, body: dict[str, Any], cancel: Event | None = None
    ) -> str:
        """The container's files as an image of that name; returns the image's id.

        The comment names the container: a commit that is cut short may leave an image without
        a name (containerd's store names it last), and ``leftovers`` must know whose it is.
        """
        self.say(lambda: command.commit_line(container, image, body))
        made = self.connection.patiently(
            lambda api: api.commit(
                container, repository=image, tag="latest", message=f"{MARK} {container}", conf=body
            ),
            cancel,
        )
        return str(made["Id"])

    def put_archive(self, container: str, folder: str, pieces: Iterator[bytes]) -> None:
        """Unpack a tar stream in a container that does not run."""
        self.say(lambda: command.line("cp", "-", f"{container}:{folder}"))
        self.connection.patiently(lambda api: api.put_archive(container, folder, pieces))

    def load(self, archive: Callable[[], Iterable[bytes]], what: str) -> None:
        """``docker load`` of a stream. Raises ``DaemonError`` if the daemon refuses it."""
        self.say(lambda: command.note(what))

        def call(api: Any) -> None:
            for message in api.load_image(archive(), quiet=True):
                if "error" in message:
                    raise DaemonError(500, message["error"])

        self.connection.patiently(call)

    @contextmanager
    def save(self, name: str) -> Iterator[Iterator[bytes]]:
        """The stream of ``docker save``; what is not read of it is dropped."""
        self.say(lambda: command.line("save", name))
        with self.connection.client() as api:
            # A classic store writes all of the image to its disk before the first byte comes.
            usual, api.timeout = api.timeout, max(api.timeout or 0, _SAVING)
            try:
                response = request(api, "GET", f"/images/{name}/get", stream=True)
            finally:
                api.timeout = usual
            with response:
                yield response.iter_content(_CHUNK)

    def history(self, name: str) -> list[dict[str, Any]]:
        """What an image was made of, the latest first."""
        self.say(lambda: command.line("history", name))
        return list(
            self.connection.ask(lambda api: api.history(name))  # type: ignore[no-untyped-call]
        )

    def containers(self, pattern: str) -> list[dict[str, Any]]:
        """All containers, running or not, whose name matches the regular expression."""
        words = ("container", "ls", "--all", "--filter", f"name={pattern}", "-q")
        self.say(lambda: command.line(*words))
        wanted = {"name": [pattern]}
        return list(self.connection.ask(lambda api: api.containers(all=True, filters=wanted)))

    def inspect_container(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._known(lambda api: api.inspect_container(name))
        return found

    def find_container(self, name: str) -> Mapping[str, Any] | None:
        """The same, told as OBuilder's question whether a container is left over."""
        self.say(lambda: command.line("inspect", "--type=container", "--", name))
        found = self.inspect_container(name)
        if found is None:
            self.say(lambda: command.answer(f"Error: No such container: {name}"))
        return found

    def volumes(self, pattern: str) -> list[str]:
        """Names of the volumes that match the regular expression."""
        words = ("volume", "ls", "--quiet", "--filter", f"name={pattern}")
        self.say(lambda: command.line(*words))
        found = self.connection.ask(lambda api: api.volumes(filters={"name": pattern}))
        return [row["Name"] for row in found.get("Volumes") or ()]

    def volume_labels(self, name: str, *, note: str = "") -> Mapping[str, str] | None:
        """None if there is no such volume."""
        self.say(lambda: command.line("volume", "inspect", "--", name, note=note))
        found = self._known(lambda api: api.inspect_volume(name))
        return None if found is None else found.get("Labels") or {}

    def create_volume(self, name: str, labels: Mapping[str, str], *, note: str = "") -> None:
        """Nothing is done if there is one of that name."""
        words = [f"--label={label}={value}" for label, value in labels.items()]
        self.say(lambda: command.line("volume", "create", *words, name, note=note))
        self.connection.ask(lambda api: api.create_volume(name, labels=dict(labels)))

    def remove_volume(self, name: str) -> None:
        self.say(lambda: command.line("volume", "rm", name))
        self._known(lambda api: api.remove_volume(name))

    @contextmanager
    def temporary(self, name: str, remove: Callable[[], object]) -> Iterator[None]:
        """Calls ``remove`` at the end: soon after success, at once after failure.

        A failure is raised as it was; if its removal fails too, that is told by the next
        ``removals.check``. A daemon that is gone is not asked: ``sweep`` removes it later.
        """
        try:
            yield
        except EngineUnavailable:
            raise
        except BaseException:
            self.removals.now(remove)
            raise
        self.removals.add(name, remove)

    def temporary_container(self, name: str) -> AbstractContextManager[None]:
        """The container that this process made under that name."""
        made = self._made.pop(name, None)
        return self.temporary(name, lambda: self.remove_container(name, made))

    def temporary_image(self, name: str) -> AbstractContextManager[None]:
        return self.temporary(name, lambda: self.remove_image(name))

    def _say_removed(self, row: Mapping[str, str]) -> None:
        for word in ("Untagged", "Deleted"):
            if word in row:
                text = f"{word}: {row[word]}"
                self.say(lambda text=text: command.answer(text))  # type: ignore[misc]

    def _known(self, call: Callable[[Any], Any]) -> Any:
        """The result, None if the daemon knows no such object."""
        try:
            return self.connection.ask(call)
        except DaemonError as error:
            if error.status != 404:
                raise
            return None


def image_facts(found: Mapping[str, Any]) -> ImageFacts:
    """Out of what the Engine API answers for an image."""
    return ImageFacts(
        id=found["Id"],
        config=tidy(found.get("Config")),
        layers=tuple(found.get("RootFS", {}).get("Layers") or ()),
        os=found.get("Os") or "",
        architecture=found.get("Architecture") or "",
        variant=found.get("Variant") or "",
        os_version=found.get("OsVersion") or "",
        comment=found.get("Comment") or "",
        digests=tuple(found.get("RepoDigests") or ()),
        tags=tuple(found.get("RepoTags") or ()),
        descriptor=found.get("Descriptor"),
    )
