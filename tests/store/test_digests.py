"""Digests of files by their status: kept, changed, bounded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from obuild.context.digests import DigestCache, StatKey
from obuild.store import Store, digests
from tests.store.samples import key

_NUMBERS = {"device": 66306, "inode": 1234, "size": 5, "mtime_ns": 1_700_000_000_123_456_789}


def _stat(**changes: int) -> StatKey:
    return StatKey(**{**_NUMBERS, "ctime_ns": 17, **changes})


_STAT = _stat()


def test_it_is_a_digest_cache(store: Store) -> None:
    cache: DigestCache = store.digests("/src")
    assert cache.lookup(_STAT) is None
    cache.add(_STAT, key(1))
    assert cache.lookup(_STAT) == key(1)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 6},
        {"mtime_ns": _STAT.mtime_ns + 1},
        {"ctime_ns": 18},
        {"inode": 1235},
        {"device": 66307},
    ],
)
def test_any_change_of_status_is_another_file(change: dict[str, int], store: Store) -> None:
    store.digests("/src").add(_STAT, key(1))
    store.digests("/src").close()
    cache = store.digests("/src")
    cache.add(_STAT, key(1))
    assert cache.lookup(_stat(**change)) is None


def test_digests_outlive_the_store(tmp_path: Path) -> None:
    odd = _stat(device=(1 << 64) - 1, inode=1 << 63, mtime_ns=-5)
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src\udcff")
        cache.add(_STAT, key(1))
        cache.add(odd, key(2))
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src\udcff")
        assert cache.lookup(_STAT) == key(1)
        assert cache.lookup(odd) == key(2)
        assert store.digests("/src").lookup(_STAT) is None
        changed = _stat(ctime_ns=99)
        cache.add(changed, key(3))
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src\udcff")
        assert cache.lookup(_STAT) is None
        assert cache.lookup(changed) == key(3)


def test_two_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s")) as one, Store.open(str(tmp_path / "s")) as two:
        for store, inode in ((one, 1), (two, 2)):
            store.digests("/src").add(_stat(inode=inode), key(inode))
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src")
        assert [cache.lookup(_stat(inode=inode)) for inode in (1, 2)] == [key(1), key(2)]


def test_many_that_nobody_asks_for_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_UNUSED_KEPT", 100)

    def known(store: Store) -> int:
        cache = store.digests("/src")
        return sum(cache.lookup(_stat(inode=n)) is not None for n in range(300))

    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src")
        for inode in range(90):
            cache.add(_stat(inode=inode), key(inode))
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src")
        assert cache.lookup(_stat(inode=1)) is not None
    with Store.open(str(tmp_path / "s")) as store:
        assert known(store) == 90
        cache = store.digests("/src")
        for inode in range(90, 200):
            cache.add(_stat(inode=inode), key(inode))
    with Store.open(str(tmp_path / "s")) as store:
        assert store.digests("/src").lookup(_stat(inode=1)) is not None
        assert store.digests("/src").lookup(_stat(inode=1)) is not None
    with Store.open(str(tmp_path / "s")) as store:
        assert known(store) == 1


def test_roots_out_of_use_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_ROOTS_KEPT", 3)
    with Store.open(str(tmp_path / "s")) as store:
        for number in range(5):
            cache = store.digests(f"/src{number}")
            cache.add(_STAT, key(number))
            cache.flush()
        found = [store.digests(f"/src{number}").lookup(_STAT) for number in range(5)]
    assert found == [None, None, key(2), key(3), key(4)]


@pytest.mark.slow
def test_twenty_thousand_are_read_fast(tmp_path: Path) -> None:
    stats = [_stat(inode=inode) for inode in range(20_000)]
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src")
        for stat in stats:
            cache.add(stat, key(stat.inode))
    with Store.open(str(tmp_path / "s")) as store:
        cache = store.digests("/src")
        start = time.perf_counter()
        assert cache.lookup(stats[0]) == key(0)
        # 30 ms on an idle machine; a tenth of a second for each thousand would be a loop.
        assert time.perf_counter() - start < 1
        assert cache.lookup(stats[-1]) == key(19_999)
