"""Headers of tar members in the GNU format, from bytes to bytes.

The format is that of GNU tar (its manual, "Basic Tar Format"): octal numbers with a NUL at
the end, base-256 numbers where octal digits do not suffice (sizes from 8 GiB, times before
1970), and a member of its own before the real one for a name or link target over 100 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from obuild.ir.manifest import Attributes

__all__ = [
    "BLOCK",
    "DIRECTORY",
    "REGULAR",
    "SYMLINK",
    "gather",
    "header",
    "header_length",
    "padding",
]

BLOCK = 512
_GATHERED = 1 << 19
REGULAR = b"0"
SYMLINK = b"2"
DIRECTORY = b"5"

_LONG_TARGET = b"K"
_LONG_NAME = b"L"
_NAME_BYTES = 100
# Magic and version; the names of user and group, the device numbers and the rest are empty.
_TAIL = b"ustar  \0".ljust(BLOCK - 257, b"\0")


_NOBODY_S = Attributes(0, 0, 0)


def header(
    name: bytes,
    kind: bytes,
    attributes: Attributes,
    *,
    mtime: int = 0,
    size: int = 0,
    target: bytes = b"",
) -> bytes:
    """All blocks before a member's content. A directory's ``name`` ends in a slash; ``mtime``
    is in seconds since 1970, ``size`` in bytes.

    Owners must be below 2**56, sizes and times below 2**88.
    """
    blocks = _block(name, kind, attributes, mtime, size, target)
    if len(name) > _NAME_BYTES:
        blocks = _long(name, _LONG_NAME) + blocks
    if len(target) > _NAME_BYTES:
        blocks = _long(target, _LONG_TARGET) + blocks
    return blocks


def header_length(name: int, target: int = 0) -> int:
    """The bytes of a header whose name and target have so many bytes."""
    long = (length + 1 for length in (name, target) if length > _NAME_BYTES)
    return BLOCK + sum(BLOCK + length + -length % BLOCK for length in long)


def padding(size: int) -> bytes:
    """What fills the last block of a content of ``size`` bytes."""
    return bytes(-size % BLOCK)


def _long(text: bytes, kind: bytes) -> bytes:
    content = text + b"\0"
    start = _block(b"././@LongLink", kind, _NOBODY_S, 0, len(content), b"")
    return start + content + padding(len(content))


def _block(
    name: bytes, kind: bytes, attributes: Attributes, mtime: int, size: int, target: bytes
) -> bytes:
    numbers = (
        _number(attributes.mode, 8)
        + _number(attributes.uid, 8)
        + _number(attributes.gid, 8)
        + _number(size, 12)
        + _number(mtime, 12)
    )
    start = name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0") + numbers
    end = kind + target[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0") + _TAIL
    # The sum of all bytes, those of the checksum itself counted as blanks.
    checksum = sum(start) + 8 * ord(" ") + sum(end)
    return start + b"%06o\0 " % checksum + end


def _number(value: int, width: int) -> bytes:
    digits = width - 1
    if 0 <= value < 1 << 3 * digits:
        return b"%0*o\0" % (digits, value)
    sign = b"\x80" if value >= 0 else b"\xff"
    return sign + value.to_bytes(digits, "big", signed=True)


def gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger pieces: a socket takes as long for 512 bytes as for 64 KiB."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _GATHERED:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
