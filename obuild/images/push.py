"""Sending images to registries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event

from obuild.errors import Cancelled
from obuild.events import Emit
from obuild.images.blobs import Blobs
from obuild.images.connections import PATIENCE, Body, Connections, Patience
from obuild.images.content import Descriptor, Image
from obuild.images.credentials import Credentials
from obuild.images.faults import concerning
from obuild.images.manifests import MOST
from obuild.images.reference import Reference
from obuild.images.registries import Registries
from obuild.images.registry import Registry
from obuild.images.transfers import Part, persistently, run

__all__ = ["push"]

_PIECE = 1 << 16


def push(
    image: Image,
    blobs: Blobs,
    reference: Reference,
    registries: Registries,
    credentials: Credentials,
    *,
    origins: Mapping[str, str] | None = None,
    emit: Emit | None = None,
    step: int = 0,
    cancel: Event | None = None,
    patience: Patience = PATIENCE,
) -> str:
    """Send the image, all of whose blobs must be in ``blobs``; the digest of its manifest.

    ``origins`` says of digests in which repository of the same registry they are known to
    be: the registry is asked to take them over from there. A blob that the registry has is
    not sent. The manifest goes last, so a push that fails leaves no half image. ``emit``,
    ``cancel`` and what is raised are as in ``fetch``.
    """
    known = dict(origins or {})
    connections = Connections(registries, patience)
    others = tuple(sorted(set(known.values()) - {reference.repository}))
    endpoint = registries.registry(reference.host)
    registry = Registry(
        connections, endpoint, reference.repository, credentials, "pull,push", others
    )
    flag = cancel or Event()
    wanted = {each.digest: each for each in (*image.layers, image.config)}.values()
    parts = [Part(each.digest, each.size, "Preparing") for each in wanted]
    works = [
        lambda each=each, part=part: _send(
            each, part, registry, blobs, known.get(each.digest), connections, flag
        )
        for each, part in zip(wanted, parts, strict=True)
    ]

    def finish() -> None:
        document = blobs.read(image.manifest.digest, MOST)
        registry.put_manifest(reference.target, image.manifest.media_type, document)

    try:
        with concerning(f"the image cannot be pushed as {reference.familiar}"):
            run(works, connections, flag, parts, emit, step)
            run([finish], connections, flag)
    finally:
        connections.close()
    return image.manifest.digest


def _send(
    content: Descriptor,
    part: Part,
    registry: Registry,
    blobs: Blobs,
    origin: str | None,
    connections: Connections,
    cancel: Event,
) -> None:
    """One blob, if the registry has it not, with as many tries as it takes."""

    def pieces() -> Iterator[bytes]:
        part.status, part.current = "Pushing", 0
        with blobs.open(content.digest) as file:
            while piece := file.read(_PIECE):
                if cancel.is_set():
                    raise Cancelled("the push was cancelled")
                yield piece
                part.current = (part.current or 0) + len(piece)

    body = Body(blobs.size(content.digest), pieces)

    def attempt() -> None:
        if registry.has_blob(content.digest):
            part.status = "Layer already exists"
            return
        location = registry.mount(content.digest, origin) if origin is not None else None
        if origin is not None and location is None:
            part.status = f"Mounted from {origin}"
            return
        registry.upload(location or registry.begin_upload(), content.digest, body)
        part.status, part.current = "Pushed", part.total

    persistently(attempt, connections, lambda: 0)
