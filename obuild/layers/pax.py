"""The records of pax headers (POSIX.1-2001, pax, "pax Extended Header")."""

from __future__ import annotations

from collections.abc import Mapping

from obuild.layers.errors import ArchiveError, show
from obuild.layers.numbers import number, wrong_number
from obuild.values import Value

__all__ = ["XATTR", "Records", "read", "record", "time", "whole", "written_time", "xattrs"]

XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_BILLION = 1_000_000_000
_DIGITS = 20
"""More digits than a number of 64 bits has: a number in a record may be as long as the record."""


class Records(Value):
    """``sparse``: those of sparse files, in their order, since some come again and again; the
    last of all others are the ``values``."""

    values: Mapping[bytes, bytes]
    sparse: tuple[tuple[bytes, bytes], ...]


def read(data: bytes) -> Records:
    """The records of a header. Raises ``ArchiveError``."""
    values: dict[bytes, bytes] = {}
    sparse = []
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + _DIGITS)
        length = data[at:blank]
        if blank < 0 or not length.isdigit():
            raise _broken()
        end = at + int(length)
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end > len(data) or data[end - 1 : end] != b"\n" or end - 1 <= blank or not equals:
            raise _broken()
        if key.startswith(_SPARSE):
            sparse.append((key.removeprefix(_SPARSE), value))
        elif b"\0" in key or (b"\0" in value and not key.startswith(XATTR)):
            raise ArchiveError(f"the record {show(key)} of a header has a NUL byte in it")
        else:
            values[key] = value
        at = end
    return Records(values, tuple(sparse))


def record(key: bytes, value: bytes) -> bytes:
    """One record; its length counts its own digits."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def whole(values: Mapping[bytes, bytes], key: bytes, field: bytes) -> int:
    """The number of a record, or if there is none that of the header's field."""
    digits = values.get(key)
    what = key.decode("ascii")
    if not digits:
        return number(field, what)
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise wrong_number(what, digits)
    return int(digits)


def time(value: bytes) -> int:
    """Nanoseconds since 1970, of decimal seconds. What is below a nanosecond is cut off
    towards the past, as GNU tar does."""
    seconds, _, fraction = value.partition(b".")
    digits = seconds.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _DIGITS or (fraction and not fraction.isdigit()):
        raise wrong_number("time", value)
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    if not seconds.startswith(b"-"):
        return int(digits) * _BILLION + nanoseconds
    more = 1 if fraction[9:].strip(b"0") else 0
    return -(int(digits) * _BILLION + nanoseconds + more)


def written_time(nanoseconds: int) -> bytes:
    """The value of a record that ``time`` reads as ``nanoseconds``."""
    seconds, fraction = divmod(abs(nanoseconds), _BILLION)
    sign = b"-" if nanoseconds < 0 else b""
    text = b"%s%d.%09d" % (sign, seconds, fraction)
    return text.rstrip(b"0").rstrip(b".")


def xattrs(values: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The extended attributes among the records."""
    return {
        key.removeprefix(XATTR): value for key, value in values.items() if key.startswith(XATTR)
    }


def _broken() -> ArchiveError:
    return ArchiveError(
        "the records of a pax header are damaged",
        hint="the archive is damaged: get it again, or make it anew",
    )
