"""Fetching images from registries into blobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from typing import TypeVar

from obuild.errors import Cancelled, ImageError
from obuild.events import Emit
from obuild.images.blobs import Blobs
from obuild.images.choice import choose, fits
from obuild.images.connections import PATIENCE, Connections, Patience
from obuild.images.content import Descriptor, Image
from obuild.images.credentials import Credentials
from obuild.images.faults import concerning
from obuild.images.manifests import MOST, Index, read
from obuild.images.parts import Incoming, WrongContent
from obuild.images.reference import Reference
from obuild.images.registries import Registries
from obuild.images.registry import Registry
from obuild.images.transfers import Part, persistently, run

__all__ = ["fetch", "resolve_digest"]

_T = TypeVar("_T")

_DEEPEST = 3
_MOST_CONFIG = 8 << 20
_CHUNK = 1 << 20


def fetch(
    reference: Reference,
    platform: str,
    blobs: Blobs,
    registries: Registries,
    credentials: Credentials,
    *,
    emit: Emit | None = None,
    step: int = 0,
    cancel: Event | None = None,
    patience: Patience = PATIENCE,
) -> Image:
    """Bring the image for ``platform`` (OS/ARCHITECTURE[/VARIANT]) into ``blobs``, whole:
    its index if it has one, its manifest, config and layers, all verified.

    Blobs that are there are not fetched; an image named by its digest that is there whole
    asks no registry. ``emit`` gets ``PullProgress`` with the number ``step``, from this
    thread. Raises ``ImageError`` (``passing`` for a fault that may be over in a moment),
    ``Cancelled`` within a quarter of a second after ``cancel`` is set, ``StoreError``.
    """
    connections = Connections(registries, patience)
    flag = cancel or Event()
    pull = _Pull(reference, platform, blobs, connections, credentials, flag)
    try:
        with concerning(f"the image {reference.familiar} cannot be had"):
            image = _result(pull.find, connections, flag)
            pull.fetch_all(image.layers, emit, step)
            return image
    finally:
        connections.close()


def resolve_digest(
    reference: Reference,
    registries: Registries,
    credentials: Credentials,
    *,
    cancel: Event | None = None,
    patience: Patience = PATIENCE,
) -> str:
    """The digest that the registry has for the name now: that of the index, if it has one.

    Raises as ``fetch`` does.
    """
    if reference.digest is not None:
        return reference.digest
    connections = Connections(registries, patience)

    def ask() -> str:
        sources = _sources(reference, connections, credentials)
        return _first(sources, lambda registry: _digest(registry, reference.target))

    try:
        with concerning(f"the image {reference.familiar} cannot be had"):
            return _result(ask, connections, cancel or Event())
    finally:
        connections.close()


class _Pull:
    """One image on its way."""

    def __init__(
        self,
        reference: Reference,
        platform: str,
        blobs: Blobs,
        connections: Connections,
        credentials: Credentials,
        cancel: Event,
    ):
        self._reference = reference
        self._platform = platform
        self._blobs = blobs
        self._connections = connections
        self._cancel = cancel
        self._sources = _sources(reference, connections, credentials)

    def find(self) -> Image:
        """The manifest and the config, from here or from the registry."""
        digest = self._reference.digest or _first(
            self._sources, lambda registry: _digest(registry, self._reference.target)
        )
        image = self._manifest(digest, _DEEPEST)
        self._fetch(image.config, Part(image.config.digest, image.config.size, ""))
        self._check_config(image)
        return Image(image.manifest, image.config, image.layers, digest)

    def fetch_all(self, wanted: Iterable[Descriptor], emit: Emit | None, step: int) -> None:
        """The blobs that are not here yet, several at once."""
        different = {each.digest: each for each in wanted}.values()
        parts = [Part(each.digest, each.size, "Pulling fs layer") for each in different]
        works = [
            lambda each=each, part=part: self._fetch(each, part)
            for each, part in zip(different, parts, strict=True)
        ]
        run(works, self._connections, self._cancel, parts, emit, step)

    def _manifest(self, digest: str, deeper: int) -> Image:
        document, media_type = self._document(digest)
        found = read(document, media_type, digest, self._reference.familiar)
        if not isinstance(found, Index):
            return found
        if not deeper:
            raise ImageError(f"{digest} is an index of indexes without end")
        entry = choose(found.entries, self._platform, self._reference.familiar)
        return self._manifest(entry.content.digest, deeper - 1)

    def _document(self, digest: str) -> tuple[bytes, str]:
        """A manifest or index; its form is told by itself where it was kept."""
        if self._blobs.has(digest):
            return self._blobs.read(digest, MOST), ""

        def get(registry: Registry) -> tuple[bytes, str]:
            document, media_type, _ = registry.manifest(digest)
            # What is kept must be readable, or the next try would find it here.
            read(document, media_type, digest, self._reference.familiar)
            return document, media_type

        document, media_type = _first(self._sources, get)
        self._blobs.put((document,), media_type)
        return document, media_type

    def _check_config(self, image: Image) -> None:
        """The config says for which platform the image really is."""
        try:
            found = json.loads(self._blobs.read(image.config.digest, _MOST_CONFIG))
            names = [found.get(name) or "" for name in ("os", "architecture", "variant")]
            its = "/".join(name for name in names if name)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ImageError(
                f"its config {image.config.digest} cannot be read",
                hint="it was not made by a tool that makes images; take another one",
            ) from error
        if not fits(its, self._platform):
            raise ImageError(
                f"it is for {its}, not for {self._platform}",
                hint="ask for a platform that the image has",
            )

    def _fetch(self, wanted: Descriptor, part: Part) -> None:
        """One blob, with as many tries as it takes."""
        self._drop_damaged(wanted)
        if not self._blobs.has(wanted.digest):
            _first(self._sources, lambda registry: self._bring(registry, wanted, part))
        part.status, part.current = "Download complete", part.total

    def _bring(self, registry: Registry, wanted: Descriptor, part: Part) -> None:
        part.status = "Waiting"
        resumed = False
        try:
            with self._blobs.incoming(wanted.digest, wanted.size, self._cancel) as coming:
                if coming.there:
                    return
                resumed = coming.offset > 0
                self._download(registry, coming, part)
                part.status = "Verifying Checksum"
        except WrongContent:
            if not resumed:
                raise
            # What an earlier try left may have been the wrong half; it is gone by now.
            self._bring(registry, wanted, part)

    def _drop_damaged(self, wanted: Descriptor) -> None:
        """A blob of another size than it should have: either was damaged, here or there."""
        if not self._blobs.has(wanted.digest) or self._blobs.size(wanted.digest) == wanted.size:
            return
        hashed = hashlib.sha256()
        with self._blobs.open(wanted.digest) as file:
            while piece := file.read(_CHUNK):
                hashed.update(piece)
                if self._cancel.is_set():
                    raise Cancelled("the pull was cancelled")
        if f"sha256:{hashed.hexdigest()}" == wanted.digest:
            raise ImageError(
                f"its manifest tells a wrong size of {wanted.digest}: {wanted.size} bytes",
                hint="it was not made by a tool that makes images; take another one",
            )
        self._blobs.remove(wanted.digest)

    def _download(self, registry: Registry, coming: Incoming, part: Part) -> None:
        def attempt() -> None:
            part.status, part.current = "Downloading", coming.offset
            if coming.offset == part.total and part.total:
                return  # all of it is there from an earlier try
            with registry.blob(coming.digest, coming.offset) as (answer, begin):
                known = coming.offset - begin  # a registry without ranges sends that once more
                for piece in answer.pieces():
                    coming.write(piece[known:])
                    known = max(known - len(piece), 0)
                    part.current = coming.offset
            if coming.offset < part.total:
                error = ImageError(
                    f"{registry.host} broke off: {coming.offset} of {part.total} bytes of "
                    f"{coming.digest} came",
                    hint="see whether the network is up, and whether the registry answers",
                )
                error.passing = True
                raise error

        if registry.mirror:
            attempt()
        else:
            persistently(attempt, self._connections, lambda: coming.offset)


def _sources(
    reference: Reference, connections: Connections, credentials: Credentials
) -> list[Registry]:
    """The mirrors, then the registry."""
    return [
        Registry(connections, endpoint, reference.repository, credentials)
        for endpoint in connections.registries.endpoints(reference.host)
    ]


def _first(sources: Sequence[Registry], ask: Callable[[Registry], _T]) -> _T:
    """What the first source gives. A mirror may fail as it likes; the registry has the word."""
    *mirrors, registry = sources
    for mirror in mirrors:
        try:
            return ask(mirror)
        except ImageError:
            continue
    return ask(registry)


def _digest(registry: Registry, target: str) -> str:
    return registry.digest(target) or registry.manifest(target)[2]


def _result(work: Callable[[], _T], connections: Connections, cancel: Event) -> _T:
    """The result of ``work``, done in a thread while this one looks at the flag."""
    results: list[_T] = []
    run([lambda: results.append(work())], connections, cancel)
    return results[0]
