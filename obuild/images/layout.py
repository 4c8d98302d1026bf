"""OCI image layouts, as a folder or as a tar archive (OCI image specification, "Image
Layout").

Names are the annotations ``org.opencontainers.image.ref.name``, which most tools take for a
tag or any other word, and ``io.containerd.image.name``, a whole reference, of which
``docker save`` and BuildKit write both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from obuild.errors import ImageError
from obuild.images import manifests
from obuild.images.blobs import Blobs
from obuild.images.choice import choose
from obuild.images.content import Image, hex_of
from obuild.images.files import Files, opened
from obuild.images.intake import (
    DAMAGED,
    MOST_CONFIG,
    blob_name,
    check_config,
    read_blob,
    take,
    whole,
)
from obuild.images.manifests import MOST, Entry, Index
from obuild.images.reference import parse
from obuild.values import Value

__all__ = ["CONTAINERD_NAME", "REF_NAME", "listed", "read_layout", "same_name"]

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_DEEPEST = 3
_LISTED = 10
_DIGEST = "sha256:"


class _Named(Value):
    entry: Entry
    ref: str
    containerd: str


def read_layout(
    path: Path, name: str | None, platform: str, blobs: Blobs, *, cancel: Event | None = None
) -> Image:
    """Bring the image for ``platform`` out of the layout at ``path``, a folder or a tar
    archive (also compressed), into ``blobs``: manifest, config and layers, all verified.

    ``name`` is one of those that the index of the layout has, or ``@sha256:HEX``: any
    manifest or index in it. Without one, the layout must have one image only, or one for each
    platform. Layers that ``blobs`` has need not be in the layout. Raises ``ImageError`` for
    what is not there, damaged or hostile, ``Cancelled``, ``StoreError``.
    """
    flag = cancel or Event()
    with whole(f"no image can be had from {path}"), opened(path, blobs, flag) as files:
        _check_version(files)
        image = _find(files, name, platform)
        document = read_blob(files, image.manifest.digest, image.manifest.size, MOST)
        config = read_blob(files, image.config.digest, image.config.size, MOST_CONFIG)
        check_config(config, len(image.layers), platform)
        layers = {blob_name(each.digest): each for each in image.layers}
        take(files, layers, blobs, flag)
        blobs.put((config,), image.config.media_type)
        blobs.put((document,), image.manifest.media_type)
        return image


def same_name(name: str, other: str) -> bool:
    """Whether two texts name one image, by the rules for short names."""
    try:
        return name == other or parse(name).full == parse(other).full
    except ImageError:
        return False


def listed(names: Sequence[str]) -> str:
    """Names for a person, not endlessly many; ``""`` if there are none."""
    shown = [each[:100] for each in dict.fromkeys(names) if each]
    more = f", and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more


def _check_version(files: Files) -> None:
    if not files.has("oci-layout"):
        if files.has("manifest.json"):
            raise ImageError(
                "it is no OCI layout, but an archive of docker save",
                hint="name it as docker-archive:FILE",
            )
        raise ImageError(
            "it is no OCI layout: it has no file oci-layout",
            hint="name the folder, or the archive, in which index.json and blobs are",
        )
    try:
        version = json.loads(files.read("oci-layout", MOST))["imageLayoutVersion"]
        major = str(version).partition(".")[0]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ImageError("its file oci-layout tells no version", hint=DAMAGED) from error
    if major != "1":
        raise ImageError(
            f"its layout is of the version {str(version)[:20]!r}",
            hint="only versions 1 can be read; make it with another tool",
        )


def _find(files: Files, name: str | None, platform: str) -> Image:
    if name is not None and name.removeprefix("@").startswith(_DIGEST):
        digest = name.removeprefix("@")
        hex_of(digest)
        return _image(files, digest, None, platform, _DEEPEST)
    document = files.read("index.json", MOST)
    index = _parsed(document, "", "index.json")
    if not isinstance(index, Index):
        raise ImageError("its index.json is no index", hint=DAMAGED)
    content = _chosen(_names(index, document), name, platform).content
    return _image(files, content.digest, content.size, platform, _DEEPEST)


def _image(files: Files, digest: str, size: int | None, platform: str, deeper: int) -> Image:
    found = _parsed(read_blob(files, digest, size, MOST), digest, digest)
    if not isinstance(found, Index):
        return found
    if not deeper:
        raise ImageError(f"{digest} is an index of indexes without end", hint=DAMAGED)
    content = choose(found.entries, platform, digest).content
    return _image(files, content.digest, content.size, platform, deeper - 1)


def _parsed(document: bytes, digest: str, source: str) -> Image | Index:
    try:
        return manifests.read(document, "", digest, source)
    except ImageError as error:
        raise ImageError(error.message, hint=DAMAGED) from error


def _names(index: Index, document: bytes) -> Iterator[_Named]:
    """The entries with their annotations, which ``manifests`` does not read."""
    described = json.loads(document)["manifests"]
    for entry, fields in zip(index.entries, described, strict=True):
        notes = fields.get("annotations") or {}
        if not isinstance(notes, dict):
            raise ImageError("annotations in its index.json are no object", hint=DAMAGED)
        ref, containerd = notes.get(REF_NAME) or "", notes.get(CONTAINERD_NAME) or ""
        if not isinstance(ref, str) or not isinstance(containerd, str):
            raise ImageError("a name in its index.json is no text", hint=DAMAGED)
        yield _Named(entry, ref, containerd)


def _chosen(named: Iterator[_Named], name: str | None, platform: str) -> Entry:
    there = list(named)
    known = listed([each.containerd or each.ref for each in there])
    if name is None:
        found = there
    else:
        found = [each for each in there if name in (each.ref, each.containerd)]
        # A word of a tag alone stands for no reference, whatever it could be short for.
        found = found or [each for each in there if same_name(name, each.containerd)]
        found = found or [each for each in there if ":" in each.ref and same_name(name, each.ref)]
    different = list({each.entry.content.digest: each for each in found}.values())
    if not different:
        missing = "no image at all" if name is None else f"no image {name[:100]}"
        raise ImageError(
            f"its index has {missing}",
            hint=f"it has {known}" if known else "its images have no names: name it by its @digest",
        )
    if len(different) == 1:
        return different[0].entry
    platforms = [each.entry.platform for each in different]
    names = {each.containerd or each.ref for each in found}
    if len(names) > 1 or None in platforms or len(set(platforms)) < len(platforms):
        raise ImageError(
            "it has more than one image" + (f" of the name {name[:100]}" if name else ""),
            hint=f"name one of them: {known}" if len(names) > 1 else "name it by its @digest",
        )
    return choose([each.entry for each in different], platform, "its index")
