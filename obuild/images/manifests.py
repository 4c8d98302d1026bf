"""Manifests and indexes of images, read strictly: they come from anywhere.

Forms: OCI image specification ("Image Manifest", "Image Index") and Docker's "Image Manifest
Version 2, Schema 2". A document that could be taken for both a manifest and an index is
refused, as two readers of it would see two images (CVE-2021-41190).
"""

from __future__ import annotations

import json

from obuild.errors import ImageError
from obuild.images.content import Descriptor, Image, hex_of
from obuild.values import Value

__all__ = ["ACCEPTED", "MOST", "Entry", "Index", "read"]

MOST = 4 << 20
"""Bytes of a manifest, as registries limit them."""

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_CONFIGS = (f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json")
_LAYERS = (f"{_OCI}.layer.v1.tar", f"{_DOCKER}.image.rootfs.diff.tar")
_FOREIGN = (f"{_OCI}.layer.nondistributable.v1.tar", f"{_DOCKER}.image.rootfs.foreign.diff.tar")
_PACKINGS = ("", "+gzip", ".gzip", "+zstd", ".zstd")
_MOST_LAYERS = 1000

ACCEPTED = ", ".join((*_MANIFESTS, *_INDEXES))
"""What a registry is told that we read."""


class Entry(Value):
    """A manifest, or an index, of an index. ``platform`` is OS/ARCHITECTURE[/VARIANT], None
    where the index does not say."""

    content: Descriptor
    platform: str | None


class Index(Value):
    entries: tuple[Entry, ...]


def read(document: bytes, media_type: str, digest: str, source: str) -> Image | Index:
    """The manifest or index whose text is ``document``; an ``Image`` without its ``digest``.

    ``media_type`` is what it was sent as, which counts only where it names a form;
    ``source`` is where it comes from, for messages. Raises ``ImageError``.
    """
    found = _json(document, media_type, source)
    kind = found.get("mediaType") or media_type.partition(";")[0].strip()
    _check_schema(found, kind, source)
    if "manifests" in found:
        if "layers" in found or "config" in found or kind in _MANIFESTS:
            raise _bad(source, "it is a manifest and an index at once")
        return Index(tuple(_entry(each, source) for each in _list(found, "manifests", source)))
    if "layers" not in found or kind in _INDEXES:
        raise _bad(source, "it has neither layers nor manifests")
    if not isinstance(found.get("config"), dict):
        raise _bad(source, "it has no config")
    config = _descriptor(found["config"], source)
    if config.media_type not in _CONFIGS:
        raise _bad(source, f"it is no image of a container ({config.media_type[:100]})")
    layers = tuple(_layer(each, source) for each in _list(found, "layers", source))
    itself = Descriptor(kind if kind in _MANIFESTS else _MANIFESTS[0], digest, len(document))
    return Image(itself, config, layers)


def _json(document: bytes, media_type: str, source: str) -> dict[str, object]:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as error:
        what = media_type[:100] or "of no kind"
        raise _bad(source, f"it is no JSON but something else ({what})") from error
    if not isinstance(found, dict):
        raise _bad(source, "it is no JSON object")
    return found


def _check_schema(found: dict[str, object], kind: object, source: str) -> None:
    if not isinstance(kind, str):
        raise _bad(source, "its mediaType is no text")
    if (
        found.get("schemaVersion") == 1
        or "fsLayers" in found
        or "distribution.manifest.v1+" in kind
    ):
        raise ImageError(
            f"{source} is an image of the old schema 1, which no current tool writes",
            hint="pull and push it with an old Docker, or build it anew",
        )


def _list(found: dict[str, object], name: str, source: str) -> list[object]:
    values = found[name]
    if not isinstance(values, list) or len(values) > _MOST_LAYERS:
        raise _bad(source, f"its {name} are no list, or too long a one")
    return values


def _entry(found: object, source: str) -> Entry:
    content = _descriptor(found, source)
    platform = found.get("platform") if isinstance(found, dict) else None
    if platform is None:
        return Entry(content, None)
    if not isinstance(platform, dict):
        raise _bad(source, "a platform is no object")
    parts = [platform.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) for part in parts):
        raise _bad(source, "a platform has no texts")
    return Entry(content, "/".join(part for part in parts if part) or None)


def _layer(found: object, source: str) -> Descriptor:
    layer = _descriptor(found, source)
    for kinds, foreign in ((_LAYERS, False), (_FOREIGN, True)):
        if layer.media_type in (f"{kind}{packing}" for kind in kinds for packing in _PACKINGS):
            if foreign:
                raise ImageError(
                    f"{source} has the layer {layer.digest}, which its registry does not hold: "
                    "it is a foreign one, of Windows",
                    hint="take a base image whose layers are all in its registry",
                )
            return layer
    raise _bad(source, f"it has a layer that cannot be unpacked ({layer.media_type[:100]})")


def _descriptor(found: object, source: str) -> Descriptor:
    if not isinstance(found, dict):
        raise _bad(source, "a descriptor is no object")
    media_type, digest, size = (found.get(name) for name in ("mediaType", "digest", "size"))
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise _bad(source, "a descriptor has no kind or no digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 62:
        raise _bad(source, "a descriptor has no size")
    hex_of(digest)
    return Descriptor(media_type, digest, size)


def _bad(source: str, why: str) -> ImageError:
    return ImageError(
        f"what {source} gives is no image: {why}",
        hint="see whether the name is right, and whether a proxy answers in the registry's place",
    )
