"""Which image of an index is for a platform.

Names of architectures and the order of their variants are those of the OCI image
specification ("Image Index", platform variants) and of containerd's package ``platforms``:
a machine also runs what was built for an older variant.
"""

from __future__ import annotations

from collections.abc import Sequence

from obuild.errors import ImageError
from obuild.images.manifests import Entry

__all__ = ["choose", "fits"]

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i386": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_OLDEST = {"amd64": "v1", "arm64": "v8"}
"""The variant that is meant where none is named."""
_ASKED = {**_OLDEST, "arm": "v7"}


def choose(entries: Sequence[Entry], platform: str, source: str) -> Entry:
    """The entry that fits best. Raises ``ImageError`` that lists what there is."""
    ranked = [(rank, each) for each in entries if (rank := _rank(each.platform, platform)) >= 0]
    if ranked:
        return max(ranked, key=lambda pair: pair[0])[1]  # the first of equals
    silent = [each for each in entries if each.platform is None]
    if len(silent) == 1:  # its own configuration will tell
        return silent[0]
    there = sorted({each.platform for each in entries if each.platform} - {"unknown/unknown"})
    raise ImageError(
        f"{source} has no image for {platform}",
        hint=f"it has {', '.join(there)}" if there else "it names no platforms at all",
    )


def fits(platform: str, wanted: str) -> bool:
    """Whether an image for ``platform`` runs where ``wanted`` does."""
    return _rank(platform, wanted) >= 0


def _rank(platform: str | None, wanted: str) -> int:
    """How well it fits: the number of its variant, -1 if it does not."""
    if platform is None:
        return -1
    os, architecture, variant = _parts(platform)
    its_os, its_architecture, its_variant = _parts(wanted)
    if os != its_os or (its_architecture and architecture != its_architecture):
        return -1
    had = _number(variant or _OLDEST.get(architecture, ""))
    most = _number(its_variant or _ASKED.get(architecture, ""))
    if had is None or most is None:
        return 0 if variant in ("", its_variant) else -1
    return had if had <= most else -1


def _parts(platform: str) -> tuple[str, str, str]:
    os, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    name, implied = _ALIASES.get(architecture, (architecture, ""))
    return os, name, variant or implied


def _number(variant: str) -> int | None:
    digits = variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 4 else None
