"""Images: finding and fetching them, and the snapshots of this store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from threading import Lock
from typing import Any

from obuild.engine import ResolvedImage, Snapshot
from obuild.engine.configs import Config, image_config
from obuild.engine.docker import command
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon, ImageFacts, image_facts
from obuild.errors import EngineError, EngineUnavailable, ImageError
from obuild.events import Emit, PullProgress

__all__ = ["Images", "resolved_here"]

_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_HINTS = (
    (("denied", "unauthorized", "login"), "see whether the name is right; else `docker login`"),
    (("not found", "unknown"), "see whether the name and the tag are right"),
    (("lookup", "dial", "timeout", "unreachable"), "see whether the network is up"),
    (("invalid reference",), "an image is called [HOST/]NAME[:TAG][@sha256:DIGEST], lower case"),
)

_PASSING = (
    "connection refused",
    "connection reset",
    "timeout",
    "timed out",
    "unexpected eof",
    "temporary failure",
    "server misbehaving",
    "toomanyrequests",
    "too many requests",
    "http 429",
    "bad gateway",
    "service unavailable",
    "internal server error",
)
"""Words of a registry, or of the way to it, that may be others in a moment."""


class Images:
    """The images of a daemon, and what is known of the snapshots' configurations."""

    def __init__(self, daemon: Daemon):
        self._daemon = daemon
        self._names = daemon.names
        self._lock = Lock()
        self._configs: dict[str, Config] = {}
        self._facts: dict[str, ImageFacts] = {}
        self._resolved: dict[str, ImageFacts] = {}
        self._seen: set[str] = set()

    def resolve(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> ResolvedImage:
        """See the engine's protocol."""
        if not reference.strip():
            raise _image_error(reference, "an image must have a name (invalid reference)")
        try:
            found = None if pull else self._daemon.inspect_image(reference, note="is it here?")
            if found is None or not _fits(found, platform):
                self._pull(reference, platform, emit, step)
                found = self._daemon.inspect_image(reference, note="what is it?")
        except EngineUnavailable:
            raise
        except DaemonError as error:
            raise _image_error(reference, error.words) from error
        if found is None:
            raise _image_error(reference, "not found after it was pulled")
        if not _fits(found, platform):
            raise ImageError(
                f"the image {reference} is for {_platform(found)}, not for {platform}",
                hint="ask for a platform that the image has",
            )
        with self._lock:
            self._resolved[found.id] = found
        return _resolved(reference, found)

    def is_here(self, reference: str) -> bool:
        return self._daemon.inspect_image(reference, note="is it here?") is not None

    def facts(self, key: str) -> ImageFacts:
        """Raises ``EngineError`` if there is no such snapshot."""
        with self._lock:
            known = self._facts.get(key)
        if known is not None:
            return known
        found = self._daemon.inspect_image(self._names.image(key), note="its configuration")
        if found is None:
            raise EngineError(
                f"there is no image {self._names.image(key)}",
                hint="somebody removed it meanwhile; start again",
            )
        self.remember(key, found.config, found)
        return found

    def inspect(self, key: str) -> ResolvedImage:
        self.forget(key)
        return _resolved(self._names.image(key), self.facts(key))

    def take(self, key: str, image: ResolvedImage) -> None:
        """The image itself becomes the snapshot."""
        self._daemon.tag(image.id, self._names.image(key), said=image.reference)
        with self._lock:
            found = self._resolved.get(image.id)
        if found is not None:
            self.remember(key, found.config, found)

    def config(self, key: str) -> Config:
        """The snapshot's configuration, asked for only if it is not known yet."""
        with self._lock:
            known = self._configs.get(key)
        return known if known is not None else self.facts(key).config

    def remember(self, key: str, config: Config, facts: ImageFacts | None = None) -> None:
        """What the snapshot is now; what was known before is forgotten."""
        with self._lock:
            self._configs[key] = config
            self._facts.pop(key, None)
            if facts is not None:
                self._facts[key] = facts

    def forget(self, key: str) -> None:
        with self._lock:
            self._configs.pop(key, None)
            self._facts.pop(key, None)

    def exists(self, key: str) -> bool:
        """OBuilder asks once; what is asked again, or of what was made here, is its own."""
        with self._lock:
            known = key in self._seen
            self._seen.add(key)
        note = "is it still there?" if known else ""
        return self._daemon.inspect_image(self._names.image(key), note=note) is not None

    def list(self, vouched: Collection[str]) -> Iterator[Snapshot]:
        """One call for all; one more for each image whose key is not in ``vouched``."""
        for key, row in self._rows():
            complete = key in vouched or self._marked(key)
            yield Snapshot(key, row["Id"], row.get("Size"), complete)

    def any(self) -> str:
        """The name of some snapshot. Raises ``EngineError`` if there is none."""
        with self._lock:
            known = next(iter(self._configs), None)
        key = known if known is not None else next((key for key, _ in self._rows()), None)
        if key is None:
            raise EngineError(
                "there is no image to start a container of", hint="run a build on this store first"
            )
        return self._names.image(key)

    def sizes(self, *, each: bool) -> dict[str, int]:
        """Bytes of each snapshot with all its layers, those that it shares included.

        ``each``: ask for every one by itself, as a list of containerd's images counts what
        is unpacked, too, which an image that was loaded never is; else one call for all.
        """
        if not each:
            return {key: int(row.get("Size") or 0) for key, row in self._rows()}
        found = ((key, self._daemon.image_size(self._names.image(key))) for key, _ in self._rows())
        return {key: size for key, size in found if size is not None}

    def delete(self, keys: Iterable[str]) -> None:
        self._daemon.removals.settle()
        for key in keys:
            self.forget(key)
            self._daemon.remove_image(self._names.image(key))

    def publish(self, key: str, name: str) -> None:
        try:
            self._daemon.tag(self._names.image(key), name)
        except DaemonError as error:
            raise ImageError(
                f"the image cannot be called {name}: {error.words}",
                hint="an image is called [HOST/]NAME[:TAG], lower case",
            ) from error

    def _rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        pattern = f"{self._names.prefix}-image-*"
        for row in self._daemon.images(pattern, note="which steps are stored?"):
            for tag in row.get("RepoTags") or ():
                key = self._names.key_of_image(tag)
                if key is not None:
                    yield key, row

    def _marked(self, key: str) -> bool:
        found = self._daemon.inspect_image(self._names.image(key), note="does it bear the mark?")
        return found is not None and found.marked

    def _pull(self, reference: str, platform: str | None, emit: Emit, step: int) -> None:
        words = ["pull", *([f"--platform={platform}"] if platform else []), reference]
        self._daemon.say(lambda: command.note(f"the base image {reference} is fetched"))
        self._daemon.say(lambda: command.line(*words))
        with self._daemon.connection.client() as api:
            for message in api.pull(reference, stream=True, decode=True, platform=platform):
                if "error" in message:
                    raise DaemonError(500, message["error"])
                self._answer(message)
                if (part := message.get("id")) is not None:
                    detail = message.get("progressDetail") or {}
                    current, total = detail.get("current"), detail.get("total")
                    emit(PullProgress(step, part, message.get("status", ""), current, total))

    def _answer(self, message: Mapping[str, Any]) -> None:
        """What ``docker pull`` prints where it cannot redraw: the states, not how far they are."""
        if message.get("status") and not message.get("progressDetail"):
            part = f"{message['id']}: " if message.get("id") else ""
            self._daemon.say(lambda: command.answer(f"{part}{message['status']}"))


def resolved_here(
    reference: str, platform: str | None, inspected: Mapping[str, Any]
) -> ResolvedImage | None:
    """The image that ``reference`` names, as the Engine API tells of it; None if it is not
    for ``platform``."""
    found = image_facts(inspected)
    return _resolved(reference, found) if _fits(found, platform) else None


def _resolved(reference: str, found: ImageFacts) -> ResolvedImage:
    return ResolvedImage(
        reference=reference,
        id=found.id,
        digest=_digest(reference, found.digests),
        os=found.os,
        architecture=found.architecture,
        config=image_config(found.config),
    )


def _digest(reference: str, digests: Iterable[str]) -> str | None:
    """The digest under the reference's own repository, else under any other."""
    known = {_familiar(name): digest for name, _, digest in (d.partition("@") for d in digests)}
    repository = reference.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    return known.get(_familiar(repository)) or next(iter(known.values()), None)


def _familiar(repository: str) -> str:
    return repository.removeprefix("docker.io/").removeprefix("library/")


def _fits(found: ImageFacts, platform: str | None) -> bool:
    if platform is None:
        return True
    os, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture = _ARCHITECTURES.get(architecture, architecture)
    return (
        found.os == os
        and (not architecture or found.architecture == architecture)
        and (not variant or not found.variant or found.variant == variant)
    )


def _platform(found: ImageFacts) -> str:
    return "/".join(part for part in (found.os, found.architecture, found.variant) if part)


def _image_error(reference: str, words: str) -> ImageError:
    lower = words.lower()
    hint = next((hint for found, hint in _HINTS if any(word in lower for word in found)), None)
    error = ImageError(f"the image {reference} cannot be had: {words}", hint=hint)
    error.passing = any(found in lower for found in _PASSING) or lower.endswith(": eof")
    return error
