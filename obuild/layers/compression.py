"""Streams as they were before they were compressed: gzip, zstd, bzip2, xz, or plain ones.

What a stream is, its first bytes tell (RFC 1952, RFC 8878, the formats of bzip2 and xz). All
are read to their end: one that stops before, or goes on with something else, is an error. No
piece is larger than 1 MiB, whatever a few bytes claim to become.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from obuild.layers.errors import ArchiveError

__all__ = ["decompressed", "is_compressed", "pieces_of"]

_READ = 1 << 18
_PIECE = 1 << 20
_MEMORY = 1 << 28  # bytes that a decompressor of xz may take
_WINDOW = 1 << 27  # the most that the zstd tool takes without being told to

_GZIP = b"\x1f\x8b"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))
_LONGEST = 6

_Stream = IO[bytes] | Iterator[bytes]


def pieces_of(stream: _Stream) -> Iterator[bytes]:
    """The bytes of a file, or of pieces, in pieces."""
    read: Callable[[int], bytes] | None = getattr(stream, "read", None)
    if read is None:
        yield from stream
        return
    while piece := read(_READ):
        yield piece


def is_compressed(start: bytes) -> bool:
    """Whether a stream that begins so is compressed in a way that can be read here."""
    return start.startswith((_GZIP, _BZIP2, _XZ, _ZSTD, *_SKIPPABLE))


def decompressed(stream: _Stream) -> Iterator[bytes]:
    """The stream's content. Raises ``ArchiveError`` if it is cut, damaged, or followed by
    anything but zeros."""
    source = _Source(pieces_of(stream))
    start = source.peek(_LONGEST)
    if start.startswith(_GZIP):
        return _whole(source, "gzip", _GZIP, _gzip)
    if start.startswith(_BZIP2):
        return _whole(source, "bzip2", _BZIP2, _bzip2)
    if start.startswith(_XZ):
        return _whole(source, "xz", _XZ, _xz)
    if start.startswith((_ZSTD, *_SKIPPABLE)):
        return _zstd(source)
    return source.rest()


class _Source:
    """Pieces, of which some may be given back."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._held = b""

    def next(self) -> bytes:
        """Some bytes; none at the end."""
        if self._held:
            held, self._held = self._held, b""
            return held
        for piece in self._pieces:
            if piece:
                return piece
        return b""

    def give_back(self, data: bytes) -> None:
        self._held = data + self._held

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer only at the end; they stay."""
        data = self.next()
        while data and len(data) < size and (piece := self.next()):
            data += piece
        self._held = data
        return data[:size]

    def take(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        if len(self._held) < size:
            self.peek(size)
        data, self._held = self._held[:size], self._held[size:]
        return data

    def rest(self) -> Iterator[bytes]:
        while piece := self.next():
            yield piece

    def only_zeros(self) -> bool:
        """Whether nothing but zeros follows; it is read. Tapes are filled up with them."""
        return not any(piece.strip(b"\0") for piece in self.rest())


class _Decompressor(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor, which hands back what it has not read yet."""

    def __init__(self) -> None:
        import zlib

        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        # A full piece may leave more behind that needs no further input.
        return not self._full and not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
        self._full = len(piece) == max_length
        return piece


def _gzip() -> _Decompressor:
    return _Gzip()


def _bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor(memlimit=_MEMORY)


def _whole(
    source: _Source, kind: str, magic: bytes, make: Callable[[], _Decompressor]
) -> Iterator[bytes]:
    """One compressed stream after the other."""
    import lzma
    import zlib

    while source.peek(len(magic)) == magic:
        decompressor = make()
        while not decompressor.eof:
            data = source.next() if decompressor.needs_input else b""
            if not data and decompressor.needs_input:
                raise _cut(kind)
            try:
                piece = decompressor.decompress(data, _PIECE)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise _damaged(kind, str(error)) from error
            if piece:
                yield piece
        source.give_back(decompressor.unused_data)
    if not source.only_zeros():
        raise _damaged(kind, "something else follows its end")


class _ZstdFrame(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd_frame() -> _ZstdFrame:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdDecompressor()
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()


def _zstd_error() -> type[Exception]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdError
    import zstandard

    return zstandard.ZstdError


def _zstd(source: _Source) -> Iterator[bytes]:
    """Frame by frame and block by block: a block becomes 128 KiB at most, where a library's
    own stream could become anything, and would not tell a cut end from the true one."""
    while start := source.peek(4):
        if start in _SKIPPABLE:
            _skip(source)
        elif start == _ZSTD:
            yield from _blocks(source)
        elif source.only_zeros():
            return
        else:
            raise _damaged("zstd", "something else follows its end")


def _skip(source: _Source) -> None:
    left = int.from_bytes(_exactly(source, 8)[4:], "little")
    while left:
        left -= len(_exactly(source, min(left, _PIECE)))


def _blocks(source: _Source) -> Iterator[bytes]:
    """One frame (RFC 8878, 3.1.1)."""
    frame = _zstd_frame()
    head = _exactly(source, 5)
    described = head[4]
    single, checksum = described >> 5 & 1, described >> 2 & 1
    size_bytes = (single, 2, 4, 8)[described >> 6]
    head += _exactly(source, (0, 1, 2, 4)[described & 3] + size_bytes + (1 - single))
    yield from _unpacked(frame, head)
    last = False
    while not last:
        head = _exactly(source, 3)
        number = int.from_bytes(head, "little")
        last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        # A block of one repeated byte (kind 1) gives its length, not its bytes.
        yield from _unpacked(frame, head + _exactly(source, 1 if kind == 1 else size))
    if checksum:
        yield from _unpacked(frame, _exactly(source, 4))


def _unpacked(frame: _ZstdFrame, data: bytes) -> tuple[bytes, ...]:
    try:
        piece = frame.decompress(data)
    except _zstd_error() as error:
        raise _damaged("zstd", str(error)) from error
    return (piece,) if piece else ()


def _exactly(source: _Source, size: int) -> bytes:
    data = source.take(size)
    if len(data) < size:
        raise _cut("zstd")
    return data


def _cut(kind: str) -> ArchiveError:
    return ArchiveError(
        f"the {kind} stream ends in the middle",
        hint="get the archive again: it was cut on its way, or its disk was full",
    )


def _damaged(kind: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"the {kind} stream is damaged: {why}",
        hint="get the archive again, or make it anew",
    )
