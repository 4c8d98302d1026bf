"""What is wrong with an archive."""

from __future__ import annotations

from obuild.errors import ImageError

__all__ = ["ArchiveError", "show"]

_SHOWN = 200


class ArchiveError(ImageError):
    """An archive that is cut, damaged or hostile, or that cannot be unpacked here."""


def show(name: bytes) -> str:
    """A member's name for a person: printable, not endless."""
    text = name.decode("utf-8", "replace")
    text = "".join(c if c.isprintable() else "\ufffd" for c in text[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
