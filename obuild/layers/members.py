"""The members of a tar archive, one after the other.

Formats: POSIX.1-1988 (ustar) and 2001 (pax), GNU tar's (its manual, "Basic Tar Format":
long names, numbers to the base 256, sparse files of the old kind), the records ``SCHILY.xattr.``
of star, and the sparse files 0.0, 0.1 and 1.0 that GNU tar writes in pax records. Names are
bytes of any kind. Access control lists and SELinux labels in records of their own are not
read, as Docker does not read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct

from obuild.layers import pax
from obuild.layers.errors import ArchiveError, show
from obuild.layers.numbers import number, wrong_number
from obuild.layers.sparse import Extent, Sparse
from obuild.layers.tape import Tape, cut
from obuild.values import Value

__all__ = ["Kind", "Limits", "Member", "Members"]

_BLOCK = 512
_FIELDS = Struct("100s8s8s8s12s12s8sc100s8s64s8s8s155s12x")
_ZEROS = bytes(_BLOCK)
_POSIX = b"ustar\0"
_NO_RECORDS: Mapping[bytes, bytes] = {}
_EMPTY_CHECKSUM = b" " * 8
_FILLED = 1 << 26
"""Bytes of zeros that may follow the end of an archive; tools write 10 KiB, or a tape's block."""


class Kind:
    """What a member is; the letters are the format's."""

    FILE = b"0"
    LINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_OCTAL = frozenset(b"01234567")
_KINDS = frozenset(b"0123456")
_EMPTY = frozenset(b"123456")
_REGULAR = frozenset((b"\0", b"7", b"S"))  # and contiguous ones, and sparse ones


class Limits(Value):
    """What an archive may ask for: so many members; so many bytes in all files together,
    holes counted; bytes of a name; names one below the other; bytes of a member's records."""

    members: int = 10_000_000
    size: int = 1 << 40
    name: int = 4096
    depth: int = 1024
    records: int = 1 << 20


class Member(Value):
    """``mtime`` in nanoseconds since 1970; ``size`` in bytes, holes counted; ``sparse`` are
    the places where data stand, None if that is everywhere."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes
    device: tuple[int, int]
    xattrs: Mapping[bytes, bytes]
    sparse: tuple[Extent, ...] | None


class Members:
    """Iterating gives the members. The content of one is there until the next is asked for.

    ``closed``: whether the archive must end with its closing blocks; else it may also stop
    after any member. Raises ``ArchiveError`` for what is no archive, is cut, is followed by
    something else, or passes the limits.
    """

    def __init__(self, tape: Tape, limits: Limits, *, closed: bool = True):
        self._tape = tape
        self._limits = limits
        self._closed = closed
        self._global: dict[bytes, bytes] = {}
        self._headers = 0
        self._asked = 0
        self._left = 0  # bytes of the present content
        self._padding = 0

    def content(self) -> Iterator[memoryview]:
        """What is left of the present member's data: of a sparse one those of its extents,
        one after the other."""
        left, self._left = self._left, 0
        return self._tape.pieces(left)

    def small(self) -> bytes | None:
        """The same at once, if it is small."""
        if self._left > 1 << 16:
            return None
        left, self._left = self._left, 0
        return self._tape.take(left)

    def __iter__(self) -> Iterator[Member]:
        tape = self._tape
        while True:
            if self._left or self._padding:
                tape.skip(self._left + self._padding)
                self._left = self._padding = 0
            member = self._next()
            if member is None:
                return
            yield member

    def _next(self) -> Member | None:
        records: pax.Records | None = None
        long: dict[bytes, bytes] = {}
        while True:
            block = self._header(bare=not long and records is None)
            if block is None:
                return None
            kind = block[156:157]
            if kind in b"LKxXgV" and kind:
                size = number(block[124:136], "size")
                if kind == b"V":  # a label of the volume; no file
                    self._left, self._padding = size, -size % _BLOCK
                    self._tape.skip(self._left + self._padding)
                    self._left = self._padding = 0
                elif kind in b"LK":
                    long[kind] = self._extension(size).partition(b"\0")[0]
                elif kind == b"g":
                    self._add_global(pax.read(self._extension(size)))
                else:
                    records = pax.read(self._extension(size))
                continue
            return self._member(block, long, records)

    def _header(self, *, bare: bool) -> bytes | None:
        """The next block; None at the archive's end. ``bare``: no extension stands before it."""
        block = self._tape.take_up_to(_BLOCK)
        if len(block) < _BLOCK:
            if block or self._closed or not bare:
                raise cut() if self._headers else _no_archive()
            return None
        if block == _ZEROS:
            if not bare:
                raise ArchiveError("the archive ends after the extension of a header")
            self._end()
            return None
        self._headers += 1
        if self._headers > self._limits.members:
            raise ArchiveError(f"the archive has more than {self._limits.members} members")
        return block

    def _end(self) -> None:
        """A block of zeros was read. A second one must follow, and nothing else but zeros."""
        filled = 0
        for piece in self._tape.drain():
            filled += len(piece)
            if filled > _FILLED or bytes(piece).strip(b"\0"):
                raise ArchiveError(
                    "something follows the end of the archive",
                    hint="it may be several archives in one: unpack them one by one",
                )

    def _extension(self, size: int) -> bytes:
        if size > self._limits.records:
            raise ArchiveError(
                f"a header's extension has {size} bytes; {self._limits.records} is the most"
            )
        return self._tape.take(size + -size % _BLOCK)[:size]

    def _add_global(self, records: pax.Records) -> None:
        if records.sparse:
            raise ArchiveError("a global header describes a sparse file")
        for key, value in records.values.items():
            if value:
                self._global[key] = value
            else:
                self._global.pop(key, None)
        if sum(map(len, self._global)) + sum(map(len, self._global.values())) > (
            self._limits.records
        ):
            raise ArchiveError("the archive's global headers are too large")

    def _member(
        self, block: bytes, long: dict[bytes, bytes], records: pax.Records | None
    ) -> Member:
        (
            name,
            mode,
            uid,
            gid,
            size,
            mtime,
            checksum,
            kind,
            target,
            magic,
            _,
            major,
            minor,
            prefix,
        ) = _FIELDS.unpack(block)
        digits = checksum.strip(b"\0 ")
        expected = number(checksum, "checksum") if _OCTAL.issuperset(digits) and digits else -1
        if sum(block) - sum(checksum) + 256 != expected:
            _check_signed(block, checksum, expected, first=self._headers == 1)
        name = name.partition(b"\0")[0]
        if magic.startswith(_POSIX) and prefix[0]:
            name = prefix.partition(b"\0")[0] + b"/" + name
        target = target.partition(b"\0")[0]
        if long:
            name, target = long.get(b"L", name), long.get(b"K", target)
        values = records.values if records is not None else _NO_RECORDS
        if self._global:
            values = {**self._global, **values}
        if values:
            name = values.get(b"path") or name
            target = values.get(b"linkpath") or target
        if kind == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY
        length = pax.whole(values, b"size", size)
        sparse = None
        stored = length
        if kind == b"S" or (records is not None and records.sparse):
            found = self._sparse(kind, block, records, length)
            name, length, stored = found.name or name, found.size, found.stored
            sparse = found.extents
        if kind in _REGULAR:
            kind = Kind.FILE
        if kind == b"" or kind[0] not in _KINDS:
            raise ArchiveError(
                f"{show(name)} is of the kind {kind!r}, which cannot be unpacked",
                hint="make the archive without what only that tool knows",
            )
        if kind[0] in _EMPTY:
            length = stored = 0
        self._take_on(name, length, stored)
        return Member(
            name,
            kind,
            number(mode, "mode") & 0o7777,
            pax.whole(values, b"uid", uid),
            pax.whole(values, b"gid", gid),
            pax.time(values[b"mtime"]) if values.get(b"mtime")
            else number(mtime, "time", signed=True) * 1_000_000_000,
            length,
            target,
            (number(major, "device"), number(minor, "device"))
            if kind in (Kind.CHARACTER, Kind.BLOCK)
            else (0, 0),
            pax.xattrs(values) if values else _NO_RECORDS,
            sparse,
        )  # fmt: skip

    def _sparse(
        self, kind: bytes, block: bytes, records: pax.Records | None, length: int
    ) -> Sparse:
        if kind == b"S":
            return Sparse.old(block, self._tape, length)
        assert records is not None
        return Sparse.of_records(records, self._tape, length)

    def _take_on(self, name: bytes, size: int, stored: int) -> None:
        if len(name) > self._limits.name:
            raise ArchiveError(
                f"a name has {len(name)} bytes; {self._limits.name} is the most: {show(name)}"
            )
        self._asked += size
        if self._asked > self._limits.size:
            raise ArchiveError(
                f"the archive holds more than {self._limits.size} bytes, at {show(name)}",
                hint="holes of sparse files count, too",
            )
        self._left, self._padding = stored, -stored % _BLOCK


def _check_signed(block: bytes, checksum: bytes, expected: int, *, first: bool) -> None:
    """Old tools summed up signed bytes."""
    if expected >= 0:
        plain = block[:148] + _EMPTY_CHECKSUM + block[156:]
        if sum(plain) - 256 * sum(1 for byte in plain if byte > 127) == expected:
            return
    if first:
        raise _no_archive()
    raise wrong_number("checksum", checksum)


def _no_archive() -> ArchiveError:
    return ArchiveError(
        "this is no tar archive",
        hint="plain ones and those in gzip, zstd, bzip2 and xz can be read",
    )
