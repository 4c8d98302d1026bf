"""Logs: written without a buffer, read while they grow."""

from __future__ import annotations

import os

from obuild.store import Store
from tests.store.samples import key


def _read(store: Store, number: int) -> bytes:
    chunks = store.read_log(key(number))
    assert chunks is not None
    return b"".join(chunks)


def test_what_is_written_is_read_at_once(store: Store) -> None:
    assert store.read_log(key(1)) is None
    with store.open_log(key(1)) as log:
        assert _read(store, 1) == b""
        assert log.write(b"one\n") == 4
        assert log.write(bytearray(b"two")) == 3
        assert log.write(memoryview(b"")) == 0
        assert _read(store, 1) == b"one\ntwo"
    assert store.log_path(key(1)) == os.path.join(store.path, "logs", f"{key(1)}.log")
    with open(store.log_path(key(1)), "rb") as file:
        assert file.read() == b"one\ntwo"


def test_a_log_is_begun_again(store: Store) -> None:
    for text in (b"long text", b"new"):
        with store.open_log(key(1)) as log:
            log.write(text)
    assert _read(store, 1) == b"new"


def test_a_long_log_comes_in_chunks(store: Store) -> None:
    content = os.urandom(1 << 20)
    with store.open_log(key(1)) as log:
        log.write(content)
    chunks = list(store.read_log(key(1)) or ())
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= 1 << 16


def test_a_reader_that_stops_early_closes_the_file(store: Store) -> None:
    with store.open_log(key(1)) as log:
        log.write(b"x" * 200_000)
    before = len(os.listdir("/dev/fd"))
    chunks = store.read_log(key(1))
    assert chunks is not None
    next(chunks)
    assert len(os.listdir("/dev/fd")) == before + 1
    chunks.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/dev/fd")) == before


def test_following(store: Store) -> None:
    follower = store.follow_log(key(1))
    assert follower.read() == b""
    log = store.open_log(key(1))
    assert follower.read() == b""
    log.write(b"one")
    log.write(b"two")
    assert follower.read() == b"onetwo"
    assert follower.read() == b""
    log.write(b"three")
    assert follower.read() == b"three"
    log.close()
    with store.open_log(key(1)) as again:
        again.write(b"anew")
        assert follower.read() == b"anew"
    follower.close()
    follower.close()
