"""Headers of members as layers have them: ustar, and pax records for what does not fit
(POSIX.1-2001, pax; extended attributes as star has them)."""

from __future__ import annotations

from obuild.layers.members import Kind, Member
from obuild.layers.pax import XATTR, record, written_time

__all__ = ["header", "padding"]

_BLOCK = 512
_NAME = 100
_BILLION = 1_000_000_000
_SMALL = 8**7  # ids and device numbers are below it
_LARGE = 8**11  # sizes and times, too
_EXTENSION = b"x"


def header(member: Member) -> bytes:
    """All blocks before the content. Equal members give equal bytes."""
    records = _records(member)
    block = _block(member)
    if not records:
        return block
    content = b"".join(record(key, records[key]) for key in sorted(records))
    base = member.name.rstrip(b"/").rpartition(b"/")[2]
    name = (b"PaxHeaders.0/" + base)[:_NAME]
    start = Member(name, _EXTENSION, 0, 0, 0, 0, len(content), b"", (0, 0), {}, None)
    return _block(start) + content + padding(len(content)) + block


def padding(size: int) -> bytes:
    """What fills the last block of a content of ``size`` bytes."""
    return bytes(-size % _BLOCK)


def _records(member: Member) -> dict[bytes, bytes]:
    records = {XATTR + key: value for key, value in member.xattrs.items()}
    if len(member.name) > _NAME:
        records[b"path"] = member.name
    if len(member.target) > _NAME:
        records[b"linkpath"] = member.target
    if member.uid >= _SMALL:
        records[b"uid"] = b"%d" % member.uid
    if member.gid >= _SMALL:
        records[b"gid"] = b"%d" % member.gid
    if member.size >= _LARGE:
        records[b"size"] = b"%d" % member.size
    if member.mtime % _BILLION or not 0 <= member.mtime // _BILLION < _LARGE:
        records[b"mtime"] = written_time(member.mtime)
    return records


def _block(member: Member) -> bytes:
    name = member.name[:_NAME]
    if len(member.name) > _NAME and member.kind != Kind.DIRECTORY:
        name = name.rstrip(b"/")  # a file's name that ends so means a directory to some readers
    start = (
        name.ljust(_NAME, b"\0")
        + _number(member.mode, 8)
        + _number(member.uid, 8)
        + _number(member.gid, 8)
        + _number(member.size, 12)
        + _number(member.mtime // _BILLION, 12)
    )
    end = (
        member.kind
        + member.target[:_NAME].ljust(_NAME, b"\0")
        + b"ustar\x0000".ljust(72, b"\0")
        + _number(member.device[0], 8)
        + _number(member.device[1], 8)
        + bytes(167)
    )
    checksum = sum(start) + 8 * ord(" ") + sum(end)
    return start + b"%06o\0 " % checksum + end


def _number(value: int, width: int) -> bytes:
    """Octal digits; 0 where they do not suffice, and a record has the number."""
    digits = width - 1
    return b"%0*o\0" % (digits, value if 0 <= value < 1 << 3 * digits else 0)
