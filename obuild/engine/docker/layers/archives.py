"""What ``docker load`` takes, as streams: docker archives and OCI layouts, thin ones.

Layers that the daemon has are named only. The forms are those of moby's image/tarexport
(``docker save`` of the classic store) and of the OCI image spec, "Image Layout".

A new layer comes first, what names its digest after it: the daemon reads the whole archive
before it looks for its parts (tried on 20.10 and 28.5). So a layer can be made while it is
sent, and need not be kept anywhere; only its size must be known before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from obuild.errors import EngineError
from obuild.values import Value

__all__ = [
    "Descriptor",
    "Document",
    "Layer",
    "docker_archive",
    "layer_descriptor",
    "oci_layout",
]

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_BLOCK = 512

Descriptor = Mapping[str, Any]


class Layer(Value):
    """A new layer: an uncompressed tar of ``size`` bytes, with its sha256 in hex, if that is
    known already.

    ``chunks()`` makes the stream; ``created_by`` tells in the image's history what it is.
    """

    digest: str | None
    size: int
    chunks: Callable[[], Iterator[bytes]]
    created_by: str


Document = Callable[[str | None], bytes]
"""Makes an image's configuration file; given the digest (hex) of the new layer, if there is one."""


def docker_archive(
    name: str, document: Document, layers: Sequence[str], layer: Layer | None
) -> Iterator[bytes]:
    """An image of the ``layers`` (digests), which must be there, and ``layer`` on them."""
    files = [f"{digest.removeprefix('sha256:')}.tar" for digest in layers]
    digest = None
    if layer is not None:
        files.append("layer.tar")
        digest = yield from _sent(files[-1], layer)
    config = document(digest)
    config_name = f"{sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [f"{name}:latest"], "Layers": files}]
    yield _file("manifest.json", json.dumps(manifest).encode())
    yield _file(config_name, config)
    yield bytes(2 * _BLOCK)


def oci_layout(
    name: str,
    config: Document | Descriptor,
    blobs: Sequence[Descriptor],
    layer: Layer | None = None,
    platform: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """An image with the configuration file ``config``, or with one that is there already.

    ``blobs`` describe the layers that are there; ``layer`` comes on top of them.
    """
    digest, layers = None, list(blobs)
    if layer is not None:
        # Containerd locks what it takes in by this name; its digest it finds out itself.
        digest = yield from _sent(f"blobs/sha256/layer-of-{name}", layer)
        layers.append(layer_descriptor(digest, layer.size))
    document = config(digest) if callable(config) else None
    named = config if not callable(config) else _described(_CONFIG, document or b"")
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": named, "layers": layers}
    ).encode()
    entry = {
        **_described(_MANIFEST, manifest),
        "annotations": {
            "io.containerd.image.name": f"docker.io/library/{name}:latest",
            "org.opencontainers.image.ref.name": "latest",
        },
    }
    if platform is not None:
        entry["platform"] = platform
    index = {"schemaVersion": 2, "manifests": [entry]}
    yield _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    yield _file("index.json", json.dumps(index).encode())
    yield _blob(manifest)
    if document is not None:
        yield _blob(document)
    yield bytes(2 * _BLOCK)


def layer_descriptor(digest: str, size: int) -> dict[str, Any]:
    """``digest`` in hex."""
    return {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": size}


def _described(media_type: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _blob(content: bytes) -> bytes:
    return _file(f"blobs/sha256/{sha256(content).hexdigest()}", content)


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % _BLOCK)


def _sent(name: str, layer: Layer) -> Generator[bytes, None, str]:
    """A file with the layer; returns its digest when all of it has been sent."""
    digest, size = sha256(), 0
    yield _header(name, layer.size)
    for chunk in layer.chunks():
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if size != layer.size:
        raise EngineError(
            f"the stream of a layer has {size} bytes where {layer.size} were announced",
            hint="this is a fault of obuild: please report it",
        )
    yield bytes(-size % _BLOCK)
    return digest.hexdigest()


def _header(name: str, size: int) -> bytes:
    from tarfile import GNU_FORMAT, TarInfo

    member = TarInfo(name)
    member.size = size
    return member.tobuf(GNU_FORMAT)
