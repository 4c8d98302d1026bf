"""Images as files: an OCI image layout, in a folder or a tar archive.

The same image and names give the same bytes: the times are those of 1970, the owner is root,
and what tells of the image comes first, so that whoever reads a stream knows what follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from obuild.errors import ImageError, UsageError
from obuild.images import document
from obuild.images.blobs import Blobs
from obuild.images.content import Descriptor, Image
from obuild.images.intake import MOST_CONFIG, blob_name
from obuild.images.layout import CONTAINERD_NAME, REF_NAME
from obuild.images.manifests import MOST
from obuild.images.reference import Reference, parse
from obuild.layers.headers import header, padding
from obuild.layers.members import Kind, Member
from obuild.values import Value

__all__ = [
    "File",
    "archive",
    "json_file",
    "layout",
    "oci_archive",
    "stored",
    "tags",
    "write_layout",
]

_INDEX = "application/vnd.oci.image.index.v1+json"
_MODE = 0o644
_END = bytes(1024)
_PIECE = 1 << 18


class File(Value):
    """A file to be written: ``content()`` yields its ``size`` bytes."""

    name: str
    size: int
    content: Callable[[], Iterator[bytes]]


def oci_archive(image: Image, names: Sequence[str], blobs: Blobs) -> Iterator[bytes]:
    """The image, all of whose blobs must be there, as a tar archive of an OCI layout.

    ``names`` must have tags or get ``latest``; there may be none. Raises ``ImageError``
    before the first bytes, but for blobs that change while they are read.
    """
    return archive(_files(image, names, blobs))


def write_layout(image: Image, names: Sequence[str], blobs: Blobs, folder: Path) -> None:
    """The same as a folder, which is made, or must be empty: else ``UsageError``.

    The index comes last, so that no reader takes half a layout for one; after an error nothing
    is left of it. Raises ``ImageError``.
    """
    oci_layout, index, *others = _files(image, names, blobs)
    made: list[Path] = []
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            made.append(folder)
        elif any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty", hint="name a folder that is empty or does not exist yet"
            )
        for path in (folder / "blobs", folder / "blobs/sha256"):
            path.mkdir()
            made.append(path)
        for file in (*others, oci_layout, index):
            with (folder / file.name).open("xb") as to:
                made.append(folder / file.name)
                for piece in file.content():
                    to.write(piece)
    except BaseException as error:
        for path in reversed(made):
            with suppress(OSError):  # the first error is the one to tell of
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise ImageError(
                f"{folder} cannot be written: {error.strerror or error}",
                hint="see that it may be written, and that its disk has room",
            ) from error
        raise


def archive(files: Iterable[File]) -> Iterator[bytes]:
    """A tar archive of the files."""
    for file in files:
        name = file.name.encode()
        yield header(Member(name, Kind.FILE, _MODE, 0, 0, 0, file.size, b"", (0, 0), {}, None))
        yield from file.content()
        yield padding(file.size)
    yield _END


def layout(
    config: bytes,
    manifest: Descriptor,
    written: bytes,
    layers: Sequence[File],
    names: Sequence[Reference],
) -> list[File]:
    """The files of a layout, each once: ``oci-layout`` and ``index.json`` first. ``written``
    is the text of the manifest."""
    entry = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "platform": _platform(config),
    }
    entries = [{**entry, "annotations": _annotations(name)} for name in names] or [entry]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
    blobs = [_blob(written), _blob(config), *layers]
    return [
        json_file("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        json_file("index.json", index),
        *{file.name: file for file in blobs}.values(),
    ]


def stored(descriptor: Descriptor, blobs: Blobs) -> File:
    """A blob as it is. Raises ``ImageError`` if it is not there, or of another size."""
    size = blobs.size(descriptor.digest)
    if size != descriptor.size:
        raise _changed(descriptor, size)

    def content() -> Iterator[bytes]:
        left = size
        with blobs.open(descriptor.digest) as file:
            while piece := file.read(_PIECE):
                left -= len(piece)
                yield piece
        if left:
            raise _changed(descriptor, size - left)

    return File(blob_name(descriptor.digest), size, content)


def tags(names: Sequence[str]) -> list[Reference]:
    """The names, each once. Raises ``ImageError`` for what cannot be a tag."""
    found = [parse(name) for name in names]
    for each in found:
        if each.digest is not None:
            raise ImageError(
                f"{each.familiar} has a digest, which cannot be given to an image",
                hint="name it by a tag",
            )
    return list(dict.fromkeys(found))


def json_file(name: str, fields: object) -> File:
    """A JSON document."""
    content = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return File(name, len(content), lambda: iter((content,)))


def _files(image: Image, names: Sequence[str], blobs: Blobs) -> list[File]:
    config = blobs.read(image.config.digest, MOST_CONFIG)
    manifest = blobs.read(image.manifest.digest, MOST)
    layers = [stored(each, blobs) for each in image.layers]
    return layout(config, image.manifest, manifest, layers, tags(names))


def _blob(content: bytes) -> File:
    name = blob_name(f"sha256:{sha256(content).hexdigest()}")
    return File(name, len(content), lambda: iter((content,)))


def _platform(config: bytes) -> dict[str, Any]:
    found = document.read(config)
    platform = {"os": found.os, "architecture": found.architecture, "variant": found.variant}
    return {key: value for key, value in platform.items() if value}


def _annotations(name: Reference) -> dict[str, str]:
    return {CONTAINERD_NAME: name.full, REF_NAME: name.tag or "latest"}


def _changed(descriptor: Descriptor, size: int) -> ImageError:
    return ImageError(
        f"the stored blob {descriptor.digest} has {size} bytes, not {descriptor.size}",
        hint="it is damaged; remove the image, and get or build it anew",
    )
