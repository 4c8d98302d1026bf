"""Images, layouts and archives that are made by hand, the wrong ones among them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import zstandard

from obuild.images import document
from obuild.images.blobs import Blobs
from obuild.images.content import Descriptor, Image
from tests.images.conftest import CONFIG, INDEX, MANIFEST, descriptor, digest_of

TAR = "application/vnd.oci.image.layer.v1.tar"
LAYERS = ("", "+gzip", "+zstd")
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def layer(name: str, content: bytes = b"content") -> bytes:
    """A tar archive of one file."""
    return tar([(name, content)])


def packed(content: bytes, packing: str) -> bytes:
    if packing == "+gzip":
        return gzip.compress(content, mtime=0)
    return zstandard.compress(content) if packing == "+zstd" else content


def config(layers: Iterable[bytes], platform: str = "linux/amd64") -> bytes:
    """The configuration of an image of these layers, uncompressed."""
    names = ("os", "architecture", "variant")
    fields = {
        **dict(zip(names, platform.split("/"), strict=False)),
        "config": {"Env": ["A=b"], "Cmd": ["/c"], "WorkingDir": "/w"},
        "created": "2020-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in layers]},
        "history": [{"created_by": "obuild"}],
    }
    return json.dumps(fields).encode()


def image(
    blobs: Blobs,
    layers: Iterable[tuple[bytes, str]] | None = None,
    platform: str = "linux/amd64",
) -> Image:
    """An image in ``blobs``, of layers and how they are packed: a plain and a packed one."""
    pairs = [(layer("a"), ""), (layer("b"), "+gzip")] if layers is None else list(layers)
    kept = blobs.put((config((each for each, _ in pairs), platform),), CONFIG)
    contents = tuple(blobs.put((packed(each, how),), TAR + how) for each, how in pairs)
    written = document.manifest(kept, contents)
    return Image(blobs.put((written,), MANIFEST), kept, contents)


def contents(blobs: Blobs, found: Image) -> dict[str, bytes]:
    """All blobs of an image, and that they are what they are called."""
    taken = {}
    for each in (found.manifest, found.config, *found.layers):
        with blobs.open(each.digest) as file:
            taken[each.digest] = file.read()
        assert digest_of(taken[each.digest]) == each.digest
        assert len(taken[each.digest]) == each.size
    return taken


def assert_sound(blobs: Blobs) -> None:
    """Nothing stands under a wrong name."""
    for digest in blobs.digests():
        with blobs.open(digest) as file:
            assert digest_of(file.read()) == digest


Files = dict[str, bytes]


def blob(content: bytes) -> Files:
    return {f"blobs/sha256/{digest_of(content)[7:]}": content}


def layout_of(*images: tuple[Image, Blobs, dict[str, object]]) -> Files:
    """The files of a layout: images, with what their entries have besides."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    entries = []
    for found, blobs, more in images:
        for content in contents(blobs, found).values():
            files |= blob(content)
        entries.append(entry(found.manifest, **more))
    return files | index_json(entries)


def entry(content: Descriptor, **more: object) -> dict[str, object]:
    named = {"mediaType": content.media_type, "digest": content.digest, "size": content.size}
    return {**named, **more}


def index_json(entries: Iterable[Mapping[str, object]]) -> Files:
    return {"index.json": index(entries)}


def index(entries: Iterable[Mapping[str, object]]) -> bytes:
    fields = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
    return json.dumps(fields).encode()


def index_entry(content: bytes, **more: object) -> dict[str, object]:
    return descriptor(content, INDEX, **more)


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


Member = tuple[str, bytes | tarfile.TarInfo]


def tar(members: Iterable[Member]) -> bytes:
    """An archive of files, and of other members as they are described."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            if isinstance(content, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                content.name = name
                archive.addfile(content)
    return stream.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def in_pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))
