"""Sparse files in tar archives (GNU tar's manual, "Storing Sparse Files").

Four forms: the old one, with the places of the data in the header (kind ``S``); 0.0 and 0.1,
with them in pax records; 1.0, with them before the data.
"""

from __future__ import annotations

from typing import Self

from obuild.layers.errors import ArchiveError
from obuild.layers.numbers import number, wrong_number
from obuild.layers.pax import Records
from obuild.layers.tape import Tape
from obuild.values import Value

__all__ = ["Extent", "Sparse"]

_BLOCK = 512
_ENTRY = 24
_IN_HEADER = range(386, 386 + 4 * _ENTRY, _ENTRY)
_IN_BLOCK = range(0, 21 * _ENTRY, _ENTRY)
_MAP_BLOCKS = 1 << 14
"""Blocks of 512 bytes that the list of a file's extents may fill."""
_LARGEST = 2**63 - 1

Extent = tuple[int, int]
"""Where data begin in the file, and how many bytes they are."""


class Sparse(Value):
    """``size`` with the holes; ``stored`` bytes follow in the archive, the extents' data.
    ``name`` if the real name stands among the records."""

    name: bytes
    size: int
    stored: int
    extents: tuple[Extent, ...]

    @classmethod
    def old(cls, block: bytes, tape: Tape, stored: int) -> Self:
        """The form whose header is ``block``; the tape stands behind it."""
        extents = _entries(block, _IN_HEADER)
        more, blocks = block[482], 0
        while more:
            blocks += 1
            if blocks > _MAP_BLOCKS:
                raise _too_long()
            next_block = tape.take(_BLOCK)
            extents += _entries(next_block, _IN_BLOCK)
            more = next_block[504]
        return cls._checked(b"", number(block[483:495], "size"), stored, extents)

    @classmethod
    def of_records(cls, records: Records, tape: Tape, stored: int) -> Self:
        """The newer forms; the tape stands before the data."""
        last = dict(records.sparse)
        if last.get(b"major") == b"1" and last.get(b"minor") == b"0":
            extents, taken = _map_before(tape, stored)
            size = _decimal(last.get(b"realsize", b""))
            return cls._checked(last.get(b"name", b""), size, stored - taken, extents)
        if b"major" in last and last[b"major"] != b"0":
            raise ArchiveError("the archive has sparse files of a kind that is not known")
        if b"map" in last:
            numbers = [_decimal(text) for text in last[b"map"].split(b",")] if last[b"map"] else []
        else:
            numbers = [_decimal(v) for k, v in records.sparse if k in (b"offset", b"numbytes")]
        size = _decimal(last.get(b"size", last.get(b"realsize", b"")))
        return cls._checked(last.get(b"name", b""), size, stored, _paired(numbers))

    @classmethod
    def _checked(cls, name: bytes, size: int, stored: int, extents: list[Extent]) -> Self:
        """Extents must follow one another, lie in the file, and be what is stored."""
        if b"\0" in name:
            raise ArchiveError("the name of a sparse file has a NUL byte in it")
        end = 0
        for start, length in extents:
            if start < end or start + length > size:
                raise ArchiveError("the extents of a sparse file overlap, or lie outside of it")
            end = start + length
        if sum(length for _, length in extents) != stored or size > _LARGEST:
            raise ArchiveError("the extents of a sparse file are not what the archive holds")
        return cls(name, size, stored, tuple(extent for extent in extents if extent[1]))


def _entries(block: bytes, places: range) -> list[Extent]:
    extents = []
    for at in places:
        if not block[at + 12]:
            break
        extents.append(
            (number(block[at : at + 12], "place"), number(block[at + 12 : at + 24], "size"))
        )
    return extents


def _map_before(tape: Tape, stored: int) -> tuple[list[Extent], int]:
    """The lines of numbers at the beginning of the data, and the bytes of their blocks."""
    data, taken = b"", 0
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        if taken >= _MAP_BLOCKS * _BLOCK or taken + _BLOCK > stored + -stored % _BLOCK:
            raise _too_long()
        data += tape.take(_BLOCK)
        taken += _BLOCK
        *lines, data = data.split(b"\n")
        numbers += [_decimal(line) for line in lines[: wanted - len(numbers)]]
        if wanted == 1 and numbers:
            wanted = 1 + 2 * numbers[0]
            numbers += [_decimal(line) for line in lines[1:wanted]]
    return _paired(numbers[1:]), taken


def _paired(numbers: list[int]) -> list[Extent]:
    if len(numbers) % 2:
        raise ArchiveError("the list of a sparse file's extents is cut")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise wrong_number("size or place", digits)
    return int(digits)


def _too_long() -> ArchiveError:
    return ArchiveError("the list of a sparse file's extents does not end")
