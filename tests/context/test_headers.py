"""Tar headers against those of the standard library."""

from __future__ import annotations

import io
import tarfile

from hypothesis import example, given
from hypothesis import strategies as st

from obuild.context.headers import (
    DIRECTORY,
    REGULAR,
    SYMLINK,
    header,
    header_length,
    padding,
)
from obuild.ir.manifest import Attributes

names = (
    st.binary(min_size=1, max_size=300)
    .filter(lambda n: b"\0" not in n)
    .map(lambda n: n.strip(b"/") or b"n")
)
ids = st.integers(0, 2**32 - 2)
times = st.one_of(st.integers(-(2**40), 2**40), st.integers(-1, 1))
sizes = st.one_of(st.integers(0, 2**63), st.integers(8**11 - 1, 8**11 + 1))


def expected(
    name: bytes, kind: bytes, attributes: Attributes, mtime: int, size: int, target: bytes
) -> bytes:
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.type = kind
    info.mode, info.uid, info.gid = attributes.mode, attributes.uid, attributes.gid
    info.mtime, info.size = mtime, size
    info.linkname = target.decode("utf-8", "surrogateescape")
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


@given(names, st.sampled_from([0o644, 0o755, 0]), ids, ids, sizes, times)
@example(b"x" * 100, 0o644, 0, 0, 0, 0)
@example(b"x" * 101, 0o644, 2**21 - 1, 2**21, 8**11, -1)
def test_files(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int) -> None:
    attributes = Attributes(mode, uid, gid)
    ours = header(name, REGULAR, attributes, mtime=mtime, size=size)
    assert ours == expected(name, REGULAR, attributes, mtime, size, b"")
    assert len(ours) == header_length(len(name))


@given(names, names, times)
def test_links(name: bytes, target: bytes, mtime: int) -> None:
    attributes = Attributes(0o777, 1, 2)
    ours = header(name, SYMLINK, attributes, mtime=mtime, target=target)
    assert ours == expected(name, SYMLINK, attributes, mtime, 0, target)
    assert len(ours) == header_length(len(name), len(target))


@given(names)
def test_directories(name: bytes) -> None:
    attributes = Attributes(0o755, 0, 0)
    ours = header(name + b"/", DIRECTORY, attributes)
    assert ours == expected(name, DIRECTORY, attributes, 0, 0, b"")


def test_content_fills_its_blocks() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


def test_a_size_over_eight_gigabytes_is_read_back() -> None:
    start = header(b"big", REGULAR, Attributes(0o644, 0, 0), mtime=-5, size=9 << 30)
    info = tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    assert (info.size, info.mtime) == (9 << 30, -5)
    assert io.BytesIO(start).getbuffer().nbytes == 512
