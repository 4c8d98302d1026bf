"""What images consist of: content that is named by its digest.

The form is that of the OCI image specification ("Content Descriptors", "Image Manifest").
"""

from __future__ import annotations

import re

from obuild.errors import ImageError
from obuild.values import Value

__all__ = ["Descriptor", "Image", "hex_of"]

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Descriptor(Value):
    """``digest`` is ``sha256:`` and 64 hex digits; ``size`` in bytes."""

    media_type: str
    digest: str
    size: int


class Image(Value):
    """An image for one platform. ``layers`` begins with the lowest.

    ``digest`` is what the registry calls it: that of the index if it has one, else that of
    the manifest; None for an image that comes from no registry.
    """

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    digest: str | None = None


def hex_of(digest: str) -> str:
    """The hex digits of a digest. Raises ``ImageError`` for another kind, or for none."""
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ImageError(
            f"{digest[:100]!r} is no digest that obuild can use",
            hint="a digest is sha256: and 64 hexadecimal digits, lower case",
        )
    return found[1]
