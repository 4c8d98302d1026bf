"""Images out of files into blobs: what each part says of another is verified on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from threading import Event

from obuild.errors import ImageError
from obuild.images import document
from obuild.images.blobs import Blobs
from obuild.images.choice import fits
from obuild.images.content import Descriptor, hex_of
from obuild.images.document import Document
from obuild.images.files import Files, Found
from obuild.images.parts import WrongContent

__all__ = ["DAMAGED", "MOST_CONFIG", "blob_name", "check_config", "read_blob", "take", "whole"]

DAMAGED = "it is damaged, or was made by a broken tool: make it anew"
MOST_CONFIG = 8 << 20
"""Bytes of a configuration."""


def blob_name(digest: str) -> str:
    """Where a blob lies in an image layout. Raises ``ImageError`` for what is no digest."""
    return f"blobs/sha256/{hex_of(digest)}"


def read_blob(files: Files, digest: str, size: int | None, limit: int) -> bytes:
    """A small blob of a layout, verified. Raises ``ImageError``."""
    content = files.read(blob_name(digest), limit)
    if size is not None and len(content) != size:
        raise ImageError(f"{digest} has {len(content)} bytes, not {size}", hint=DAMAGED)
    found = sha256(content).hexdigest()
    if found != hex_of(digest):
        raise ImageError(f"{digest} is something else: sha256:{found}", hint=DAMAGED)
    return content


def check_config(content: bytes, layers: int, platform: str) -> Document:
    """The configuration of an image of so many layers. Raises ``ImageError`` if it has others,
    or is for another platform."""
    found = document.read(content)
    if len(found.diff_ids) != layers:
        raise ImageError(
            f"its configuration tells of {len(found.diff_ids)} layers, its manifest of {layers}",
            hint=DAMAGED,
        )
    parts = (found.os, found.architecture, found.variant)
    its = "/".join(part for part in parts if part)
    if not fits(its, platform):
        raise ImageError(
            f"it is for {its[:100]}, not for {platform}",
            hint="ask for a platform that the image has",
        )
    return found


def take(files: Files, wanted: Mapping[str, Descriptor], blobs: Blobs, cancel: Event) -> None:
    """Bring files into ``blobs``, that must be what is said of them; not those that are there.

    Raises ``ImageError``, ``Cancelled``, ``StoreError``.
    """
    missing = {}
    for name, each in wanted.items():
        if not blobs.has(each.digest):
            missing[name] = each
        elif blobs.size(each.digest) != each.size:
            raise _wrong_size(each, blobs.size(each.digest))
    for found in files.each(missing):
        each = missing[found.name]
        if found.size != each.size:
            raise _wrong_size(each, found.size)
        _keep(found, each, blobs, cancel)


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Says of errors where the image is; and not that a registry could be at fault."""
    try:
        yield
    except ImageError as error:
        hint = DAMAGED if isinstance(error, WrongContent) or not error.hint else error.hint
        raise ImageError(f"{what}: {error.message}", hint=hint) from error


def _keep(found: Found, wanted: Descriptor, blobs: Blobs, cancel: Event) -> None:
    with blobs.incoming(wanted.digest, wanted.size, cancel) as coming:
        if coming.there:
            return
        coming.restart()  # what is left of another try is read as fast anew
        for piece in found.content:
            coming.write(piece)


def _wrong_size(wanted: Descriptor, size: int) -> ImageError:
    return ImageError(f"{wanted.digest} has {size} bytes, not {wanted.size}", hint=DAMAGED)
