"""The archive that a guest's GNU tar sends, read against what is expected of it.

The format is GNU tar's own (its manual, "Basic Tar Format"). The guest is not trusted: every
member must be the next that is expected, in kind, name, size and link target, and after the
last one the archive must end as GNU tar ends it.
"""

from __future__ import annotations

from obuild.engine.docker.sources.serving import Serving, untrue
from obuild.values import Value

__all__ = ["BLOCK", "RECORD", "Archive", "Expected"]

BLOCK = 512
RECORD = 128 * BLOCK
_LONGEST = 1 << 16


class Expected(Value):
    """A member: ``kind`` as in the header, the whole ``name``, ``size`` in bytes."""

    kind: bytes
    name: bytes
    size: int = 0
    target: bytes = b""


class Archive:
    """One archive, member by member; the content of each is taken before the next."""

    def __init__(self, serving: Serving):
        self._serving = serving
        self._taken = 0

    def next(self, expected: Expected) -> int:
        """Read the header of the next member; returns its time in seconds since 1970.

        Raises ``SourceError`` if it is not the expected one.
        """
        long: dict[bytes, bytes] = {}
        while (kind := (block := self._block())[156:157]) in (b"L", b"K"):
            if kind in long:
                raise untrue("its archive has a name twice")
            long[kind] = self._long_text(block)
        name = long.get(b"L", _text(block[:100]))
        target = long.get(b"K", _text(block[157:257]))
        found = Expected(kind, name, _number(block[124:136]), target)
        if found != expected:
            raise untrue(f"its tar sends {_shown(found)} where {_shown(expected)} should come")
        return _number(block[136:148])

    def count(self, size: int) -> None:
        """``size`` bytes of content are taken by somebody else."""
        self._taken += size

    def end(self) -> None:
        """The blocks that end the archive, and what fills its last record."""
        left = 2 * BLOCK + -(self._taken + 2 * BLOCK) % RECORD
        if self._serving.take(left).strip(b"\0"):
            raise untrue("its tar sends more than it was asked for")

    def _take(self, size: int) -> bytes:
        self._taken += size
        return self._serving.take(size)

    def _block(self) -> bytes:
        block = self._take(BLOCK)
        if block[257:262] != b"ustar":
            raise untrue("its archive has less in it, or is none")
        return block

    def _long_text(self, block: bytes) -> bytes:
        size = _number(block[124:136])
        if not 0 < size <= _LONGEST:
            raise untrue("its archive has a name that is too long")
        content = self._take(size + -size % BLOCK)
        return _text(content[:size])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits, or a number to the base 256 with the highest bit set. A negative one, for
    times before 1970, is possible."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=field[0] == 0xFF)
        return value if field[0] == 0xFF else value - (1 << 8 * len(field) - 1)
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise untrue("its archive has a number that is none")
    try:
        return int(digits, 8)
    except ValueError:
        raise untrue("its archive has a number that is none") from None


def _shown(member: Expected) -> str:
    kinds = {b"0": "the file", b"2": "the link", b"5": "the folder", b"1": "the hard link"}
    name = member.name.decode("utf-8", "replace")
    return f"{kinds.get(member.kind, 'the special file')} {name[:300]!r} ({member.size} bytes)"
