"""Numbers in tar headers: octal digits, or to the base 256 with the highest bit set."""

from __future__ import annotations

from obuild.layers.errors import ArchiveError, show

__all__ = ["number", "wrong_number"]


def number(field: bytes, what: str, *, signed: bool = False) -> int:
    """The number in a field; an empty one is 0. Only where ``signed`` may it be negative.

    Raises ``ArchiveError``, which calls it ``what``.
    """
    digits = field.strip(b"\0 ")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise wrong_number(what, field) from None
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=True)
        if field[0] != 0xFF:
            value = int.from_bytes(field, "big") - (1 << 8 * len(field) - 1)
        if value >= 0 or signed:
            return value
    elif not digits:
        return 0
    raise wrong_number(what, field)


def wrong_number(what: str, field: bytes) -> ArchiveError:
    return ArchiveError(
        f"the {what} in a header of the archive is {show(field)!r}",
        hint="the archive is damaged: get it again, or make it anew",
    )
