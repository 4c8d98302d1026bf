"""Manifests of snapshots: kept as they are, and never given for another snapshot."""

from __future__ import annotations

import os
import sqlite3

import pytest

from obuild.source import decode
from obuild.store import Store, manifests
from tests.store.samples import key, record

_ODD = decode(b'(file ("\xff\xfe\x00\xc3\xa9" "\n"))')


@pytest.fixture
def built(store: Store) -> Store:
    store.add(key(1), None, record(key(1)))
    store.add(key(2), key(1), record(key(2)))
    return store


@pytest.mark.parametrize("text", ["", _ODD, "x" * 3_000_000], ids=["empty", "odd", "long"])
def test_what_was_kept_is_given(text: str, built: Store) -> None:
    assert built.manifests(key(2), _ODD) is None
    built.keep_manifests(key(2), _ODD, text)
    assert built.manifests(key(2), _ODD) == text
    assert built.manifests(key(2), "another") is None
    assert built.manifests(key(1), _ODD) is None
    built.keep_manifests(key(2), _ODD, "new")
    assert built.manifests(key(2), _ODD) == "new"


def test_nothing_is_kept_of_what_is_not_stored(built: Store) -> None:
    built.keep_manifests(key(3), "q", "text")
    built.add(key(3), key(2), record(key(3)))
    assert built.manifests(key(3), "q") is None


def test_it_goes_when_the_step_is_done_again(built: Store) -> None:
    for again in (built.announce, built.add):
        built.keep_manifests(key(2), "q", "text")
        again(key(2), key(1), record(key(2)))
        assert built.manifests(key(2), "q") is None


def test_it_goes_with_the_snapshot(built: Store) -> None:
    built.keep_manifests(key(1), "q", "text")
    built.keep_manifests(key(2), "q", "text")
    built.forget([key(2)], "prune")
    assert _number(built) == 1
    built.reconcile({})
    assert _number(built) == 0


def test_it_is_not_given_once_obuilder_built_the_key_again(built: Store) -> None:
    built.keep_manifests(key(2), "q", "text")
    connection = sqlite3.connect(os.path.join(built.path, "state", "db", "db.sqlite"))
    with connection:
        connection.execute(
            "INSERT OR REPLACE INTO builds VALUES (?, '2030-01-01 00:00:00',"
            " '2030-01-01 00:00:00', 0, ?)",
            (key(2), key(1)),
        )
    connection.close()
    assert built.manifests(key(2), "q") is None


def test_a_hit_loses_nothing(built: Store) -> None:
    built.keep_manifests(key(2), "q", "text")
    built.use([key(2)])
    built.reconcile({key(1): True, key(2): True, key(3): True})
    assert built.manifests(key(2), "q") == "text"


def test_only_so_many_are_kept_of_one_snapshot(
    built: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_KEPT", 2)
    for question in "abc":
        built.keep_manifests(key(2), question, question)
    assert [built.manifests(key(2), question) for question in "abc"] == [None, "b", "c"]


def _number(store: Store) -> int:
    connection = sqlite3.connect(os.path.join(store.path, "state", "db", "db.sqlite"))
    [(number,)] = connection.execute("SELECT count(*) FROM obuild_manifests")
    connection.close()
    assert isinstance(number, int)
    return number
