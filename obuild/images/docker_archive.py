"""Archives of ``docker save``, and for ``docker load``.

Forms (moby's image/tarexport, and its specification "Docker Image Specification v1.2"): a
``manifest.json`` names the configuration and the layers of each image. Up to Docker 24 these
are ``HEX.json`` and ``ID/layer.tar``, one of equal layers a link to another; from 25 on they
are ``blobs/sha256/HEX``, and the archive is an OCI layout as well.

What is written here is of the newer form. It was tried what loads take: the classic stores
of 20.10 and 28.5 read ``manifest.json``, containerd's store ``index.json``; all take plain
layers and those in gzip. 20.10 does not know zstd, so such layers are written plain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from itertools import chain
from pathlib import Path
from threading import Event
from typing import IO

from obuild.errors import ImageError
from obuild.images import document
from obuild.images.blobs import Blobs
from obuild.images.choice import choose
from obuild.images.content import Descriptor, Image
from obuild.images.exports import File, archive, json_file, layout, stored, tags
from obuild.images.files import Files, Found, opened, received
from obuild.images.intake import DAMAGED, MOST_CONFIG, blob_name, check_config, whole
from obuild.images.layout import listed, same_name
from obuild.images.manifests import MOST, Entry
from obuild.layers.compression import decompressed, is_compressed
from obuild.values import Value

__all__ = ["docker_archive", "read_docker_archive"]

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_MAGIC = 6
_MOST = 1000
_TOLD = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?")
"""A name that tells the digest of what is in the file."""


class _Item(Value):
    """An image of ``manifest.json``: the names of its files, and its own."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


def read_docker_archive(
    source: Path | IO[bytes] | Iterator[bytes],
    name: str | None,
    platform: str,
    blobs: Blobs,
    *,
    cancel: Event | None = None,
) -> Image:
    """Bring an image out of an archive of ``docker save``, which may be compressed, into
    ``blobs``: its layers as they are, and a manifest of the OCI's form, which is made.

    A ``Path`` is read where it must be; a stream, or a pipe, once, and what else it has stays
    in ``blobs``. Without ``name``, there must be one image only, or one for each platform.
    All is verified but the diff ids of compressed layers, which are when they are unpacked.
    Raises ``ImageError`` for what is not there, damaged or hostile, ``Cancelled``,
    ``StoreError``.
    """
    what = f"no image can be had from {source if isinstance(source, Path) else 'the archive'}"
    flag = cancel or Event()
    with whole(what), _opened(source, blobs, flag) as files:
        item, config = _find(files, name, platform)
        diff_ids = check_config(config, len(item.layers), platform).diff_ids
        layers = _take(files, item.layers, diff_ids, blobs, flag)
        kept = blobs.put((config,), _CONFIG)
        manifest = blobs.put((document.manifest(kept, layers),), document.MANIFEST)
        return Image(manifest, kept, layers)


def docker_archive(image: Image, names: Sequence[str], blobs: Blobs) -> Iterator[bytes]:
    """The image, all of whose blobs must be there, as ``docker load`` takes it.

    ``names`` must have tags or get ``latest``; there may be none. The same arguments give the
    same bytes. Raises ``ImageError`` before the first bytes, but for blobs that change while
    they are read.
    """
    given = tags(names)
    config = blobs.read(image.config.digest, MOST_CONFIG)
    layers = [_loadable(each, blobs) for each in image.layers]
    manifest, shown = image.manifest, blobs.read(image.manifest.digest, MOST)
    if tuple(each for each, _ in layers) != image.layers:
        shown = document.manifest(image.config, [each for each, _ in layers])
        digest = f"sha256:{sha256(shown).hexdigest()}"
        manifest = Descriptor(document.MANIFEST, digest, len(shown))
    files = [file for _, file in layers]
    item = {
        "Config": blob_name(image.config.digest),
        "RepoTags": [each.familiar for each in given] or None,
        "Layers": [file.name for file in files],
    }
    whole_layout = layout(config, manifest, shown, files, given)
    return archive([*whole_layout[:2], json_file("manifest.json", [item]), *whole_layout[2:]])


def _opened(
    source: Path | IO[bytes] | Iterator[bytes], blobs: Blobs, cancel: Event
) -> AbstractContextManager[Files]:
    if not isinstance(source, Path):
        return nullcontext(received(source, blobs, cancel))
    if source.is_dir():
        raise ImageError(
            "it is a folder", hint="name an archive of docker save, or a layout as oci:FOLDER"
        )
    return opened(source, blobs, cancel)


def _find(files: Files, name: str | None, platform: str) -> tuple[_Item, bytes]:
    """The image that is meant, and its configuration."""
    if not files.has("manifest.json"):
        layout_too = files.has("index.json")
        raise ImageError(
            "it is no archive of docker save: it has no manifest.json",
            hint="it is an OCI layout: name it as oci-archive:FILE"
            if layout_too
            else "name one that docker save made, of Docker 1.10 or later",
        )
    items = _items(files.read("manifest.json", MOST))
    known = [each for item in items for each in item.names]
    found = [item for item in items if name is None or any(same_name(name, x) for x in item.names)]
    different = list({(item.config, item.layers): item for item in found}.values())
    if not different:
        missing = "no image at all" if name is None else f"no image {name[:100]}"
        hint = f"it has {listed(known)}" if known else "its images have no names"
        raise ImageError(f"it has {missing}", hint=hint)
    item = different[0] if len(different) == 1 else _of_platform(files, different, platform)
    return item, _config(files, item.config)


def _of_platform(files: Files, items: Sequence[_Item], platform: str) -> _Item:
    """The one of several images of one name; they must be for different platforms."""
    entries = []
    for item in items:
        content = _config(files, item.config)
        found = document.read(content)
        parts = (found.os, found.architecture, found.variant)
        digest = f"sha256:{sha256(content).hexdigest()}"
        described = Descriptor(_CONFIG, digest, len(content))
        entries.append(Entry(described, "/".join(part for part in parts if part)))
    names = {item.names for item in items}
    if len(names) > 1 or len({each.platform for each in entries}) < len(entries):
        known = listed([each for item in items for each in item.names])
        raise ImageError(
            "it has more than one image",
            hint=f"name one of them: {known}" if known else "save the one that is wanted alone",
        )
    return items[entries.index(choose(entries, platform, "the archive"))]


def _items(content: bytes) -> list[_Item]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImageError("its manifest.json is no JSON", hint=DAMAGED) from error
    if not isinstance(found, list) or len(found) > _MOST:
        raise ImageError("its manifest.json is no list, or too long a one", hint=DAMAGED)
    return [_item(each) for each in found]


def _item(found: object) -> _Item:
    fields = found if isinstance(found, dict) else {}
    config = fields.get("Config")
    layers, names = fields.get("Layers") or [], fields.get("RepoTags") or []
    texts = (
        [config, *layers, *names] if isinstance(layers, list) and isinstance(names, list) else [0]
    )
    if len(texts) > _MOST or not all(isinstance(each, str) for each in texts):
        raise ImageError("its manifest.json does not tell what an image consists of", hint=DAMAGED)
    return _Item(str(config), tuple(layers), tuple(names))


def _config(files: Files, name: str) -> bytes:
    content = files.read(name, MOST_CONFIG)
    _check(name, sha256(content).hexdigest())
    return content


def _check(name: str, digest: str) -> None:
    """That a file whose name tells a digest (hex) has it."""
    told = _TOLD.fullmatch(name)
    if told is not None and told[1] != digest:
        raise ImageError(f"{name[-100:]} is something else: sha256:{digest}", hint=DAMAGED)


def _take(
    files: Files, names: Sequence[str], diff_ids: Sequence[str], blobs: Blobs, cancel: Event
) -> tuple[Descriptor, ...]:
    """The layers, in the order of ``names``."""
    expected = dict(zip(names, diff_ids, strict=True))
    for name, diff_id in zip(names, diff_ids, strict=True):
        if expected[name] != diff_id:
            raise ImageError(f"{name[:100]} is said to be two different layers", hint=DAMAGED)
    taken = {
        found.name: _layer(found, expected[found.name], blobs, cancel)
        for found in files.each(expected)
    }
    return tuple(taken[name] for name in names)


def _layer(found: Found, diff_id: str, blobs: Blobs, cancel: Event) -> Descriptor:
    pieces = found.content
    start = b""
    while len(start) < _MAGIC and (piece := next(pieces, b"")):
        start += piece
    content = chain((start,), pieces)
    if not is_compressed(start):
        _check(found.name, diff_id.removeprefix("sha256:"))
        return _plain(content, diff_id, found.size, blobs, cancel)
    packing = "+gzip" if start.startswith(_GZIP) else "+zstd" if start.startswith(_ZSTD) else None
    if packing is None:  # the OCI's manifests have no name for the others
        return _plain(decompressed(content), diff_id, None, blobs, cancel)
    kept = blobs.put(content, _LAYER + packing)
    _check(found.name, kept.digest.removeprefix("sha256:"))
    return kept


def _plain(
    content: Iterator[bytes], diff_id: str, size: int | None, blobs: Blobs, cancel: Event
) -> Descriptor:
    with blobs.incoming(diff_id, size, cancel) as coming:
        if not coming.there:
            coming.restart()  # what is left of another try is read as fast anew
            for piece in content:
                coming.write(piece)
    found = blobs.size(diff_id)
    if size is not None and found != size:
        raise ImageError(f"the layer {diff_id} has {size} bytes, not {found}", hint=DAMAGED)
    return Descriptor(_LAYER, diff_id, found)


def _loadable(layer: Descriptor, blobs: Blobs) -> tuple[Descriptor, File]:
    """A layer as all engines take it, and what it is then."""
    as_it_is = stored(layer, blobs)
    with blobs.open(layer.digest) as file:
        start = file.read(_MAGIC)
    if not is_compressed(start) or start.startswith(_GZIP):
        return layer, as_it_is
    hashed, size = sha256(), 0
    for piece in decompressed(as_it_is.content()):
        hashed.update(piece)
        size += len(piece)
    plain = Descriptor(_LAYER, f"sha256:{hashed.hexdigest()}", size)
    return plain, File(blob_name(plain.digest), size, lambda: decompressed(as_it_is.content()))
