"""What ``docker load`` takes, as streams: docker archives and OCI layouts, thin ones.

Layers that the daemon has are named only. The forms are those of moby's image/tarexport
(``docker save`` of the classic store) and of the OCI image spec, "Image Layout".
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from obuild.values import Value

__all__ = ["Descriptor", "Layer", "Stream", "docker_archive", "layer_descriptor", "oci_layout"]

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_BLOCK = 512

Descriptor = Mapping[str, Any]


class Layer(Value):
    """A new layer: an uncompressed tar of ``size`` bytes, with its sha256 in hex.

    ``chunks()`` makes the stream; ``created_by`` tells in the image's history what it is.
    """

    digest: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    created_by: str


def docker_archive(
    name: str, document: bytes, layers: Sequence[str], layer: Layer | None
) -> Iterator[bytes]:
    """An image with the configuration file ``document``. ``layers`` are the digests of all
    its layers; the last one is ``layer``, if that is given, and the others must be there."""
    config_name = f"{sha256(document).hexdigest()}.json"
    files = [f"{digest.removeprefix('sha256:')}.tar" for digest in layers]
    manifest = [{"Config": config_name, "RepoTags": [f"{name}:latest"], "Layers": files}]
    yield _file("manifest.json", json.dumps(manifest).encode())
    yield _file(config_name, document)
    if layer is not None:
        yield from _stream(files[-1], layer)
    yield bytes(2 * _BLOCK)


def oci_layout(
    name: str,
    config: bytes | Descriptor,
    blobs: Sequence[Descriptor],
    layer: Layer | None = None,
    platform: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """An image with the configuration file ``config``, or with one that is there already.

    ``blobs`` describe the layers that are there; ``layer`` comes on top of them.
    """
    layers = [*blobs, *([layer_descriptor(layer)] if layer else [])]
    named = _described(_CONFIG, config) if isinstance(config, bytes) else config
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
    if isinstance(config, bytes):
        yield _blob(config)
    if layer is not None:
        yield from _stream(f"blobs/sha256/{layer.digest}", layer)
    yield bytes(2 * _BLOCK)


def layer_descriptor(layer: Layer) -> dict[str, Any]:
    return {"mediaType": _LAYER, "digest": f"sha256:{layer.digest}", "size": layer.size}


def _described(media_type: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _blob(content: bytes) -> bytes:
    return _file(f"blobs/sha256/{sha256(content).hexdigest()}", content)


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % _BLOCK)


def _stream(name: str, layer: Layer) -> Iterator[bytes]:
    yield _header(name, layer.size)
    yield from layer.chunks()
    yield bytes(-layer.size % _BLOCK)


def _header(name: str, size: int) -> bytes:
    from tarfile import GNU_FORMAT, TarInfo

    member = TarInfo(name)
    member.size = size
    return member.tobuf(GNU_FORMAT)


class Stream(io.RawIOBase):
    """Chunks as a file that can only be read on."""

    def __init__(self, chunks: Iterator[bytes]):
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data
