"""Opening a store: what is made, what is refused, and what the refusal says."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from obuild.errors import StoreError
from obuild.store import Store
from tests.store.samples import fill, key, record

_NOBODY = 65534


def _refused(path: Path | str, message: str, **options: object) -> StoreError:
    with pytest.raises(StoreError, match=message) as error:
        Store.open(str(path), **options)  # type: ignore[arg-type]
    assert error.value.hint
    assert error.value.exit_code == 4
    return error.value


def _use_all(store: Store) -> None:
    store.add(key(1), None, record(key(1)))
    with store.open_log(key(1)) as log:
        log.write(b"x")
    with store.lock(key(1), Event(), lambda: None):
        pass


def test_everything_is_private(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        root = tmp_path / "not" / "yet"
        with Store.open(str(root)) as store:
            store.add(key(1), None, record(key(1)))
            with store.open_log(key(1)), store.lock(key(1), Event(), lambda: None):
                found = list(root.rglob("*"))
                modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [root, *found]}
    finally:
        os.umask(mask)
    assert {path.relative_to(root).as_posix() for path in found} == {
        "state",
        "state/db",
        "state/db/db.sqlite",
        "state/db/db.sqlite-shm",
        "state/db/db.sqlite-wal",
        "logs",
        f"logs/{key(1)}.log",
        "locks",
        f"locks/{key(1)}.lock",
    }
    for path, mode in modes.items():
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_that_serves_other_ends_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    tmp_path.chmod(0o755)
    Store.open(str(tmp_path)).close()
    Store.open(str(tmp_path)).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_directory_that_many_share_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    Store.open(str(tmp_path)).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_it_opens_again_with_all_that_was_in_it(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s")) as store:
        store.add(key(1), None, record(key(1)))
        before = store.row(key(1)), store.record(key(1)), store.secret_key(), store.machine_id()
    with Store.open(str(tmp_path / "s"), create=False) as store:
        after = store.row(key(1)), store.record(key(1)), store.secret_key(), store.machine_id()
    assert before == after
    assert before[0] is not None
    assert before[1] is not None


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    store.close()
    store.close()


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")
    with Store.open(str(tmp_path / "s")) as store:
        _use_all(store)
    (tmp_path / "s" / "state" / "db" / "db.sqlite").write_bytes(b"no database" * 1000)
    _refused(tmp_path / "s", "damaged")
    assert os.listdir("/dev/fd") == before


def test_a_missing_store_is_not_made_unasked(tmp_path: Path) -> None:
    _refused(tmp_path / "s", "no store", create=False)
    (tmp_path / "s").mkdir()
    _refused(tmp_path / "s", "no store", create=False)
    assert list((tmp_path / "s").iterdir()) == []
    _refused("", "no store")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    _refused(tmp_path / "s", "exists, but is not a directory")
    _refused(tmp_path / "s" / "below", "not a directory")


def test_a_link_is_refused_and_its_target_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "s").symlink_to("real")
    error = _refused(tmp_path / "s", "it is a link")
    assert str(tmp_path / "real") in str(error.hint)
    (tmp_path / "dangling").symlink_to("nowhere")
    _refused(tmp_path / "dangling", "it is a link")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["state", "state/db", "logs", "locks"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_links_and_files_below_the_store_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    at = tmp_path / "s" / name
    at.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    if kind == "link":
        at.symlink_to(tmp_path / "elsewhere")
    else:
        at.write_text("")
    _refused(tmp_path / "s", f"{name} is a link or a file")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"])
def test_a_database_that_is_a_link_is_refused(name: str, tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s")).close()
    at = tmp_path / "s" / "state" / "db" / name
    at.unlink(missing_ok=True)
    at.symlink_to(tmp_path / "elsewhere")
    _refused(tmp_path / "s", "is not a file")
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_or_lock_that_is_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    for name in (f"logs/{key(1)}.log", f"locks/{key(1)}.lock"):
        (Path(store.path) / name).symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError):
        store.open_log(key(1))
    with pytest.raises(StoreError):
        store.read_log(key(1))
    with pytest.raises(StoreError), store.lock(key(1), Event(), lambda: None):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("name", [".", "state", "state/db", "state/db/db.sqlite", "logs", "locks"])
def test_a_store_of_another_user_is_refused(name: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a directory away needs root")
    Store.open(str(tmp_path / "s")).close()
    os.chown(tmp_path / "s" / name, _NOBODY, _NOBODY)
    error = _refused(tmp_path / "s", f"belongs to the user {_NOBODY}, not to 0")
    assert "owner" in str(error.hint)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s")).close()
    _change(tmp_path / "s", "UPDATE obuild_values SET value = 7 WHERE name = 'schema'")
    error = _refused(tmp_path / "s", "has schema 7, which is newer")
    assert "newer obuild" in str(error.hint)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE obuild_values SET value = 'x' WHERE name = 'schema'",
        "DELETE FROM obuild_values WHERE name = 'schema'",
    ],
)
def test_a_schema_that_is_no_number_is_damage(change: str, tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s")).close()
    _change(tmp_path / "s", change)
    _refused(tmp_path / "s", "damaged")


def _change(root: Path, statement: str) -> None:
    connection = sqlite3.connect(root / "state" / "db" / "db.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def _no_database(data: bytes) -> bytes:
    return b"this is no database\n" * (len(data) // 20)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _scribbled(data: bytes) -> bytes:
    return data[:100] + b"\xa5" * (len(data) - 100)


def _read_and_write(root: Path) -> None:
    with Store.open(str(root)) as store:
        store.rows()
        list(store.records())
        store.add(key(201), None, record(key(201)))


@pytest.mark.parametrize("damage", [_no_database, _cut, _scribbled])
def test_a_damaged_database_is_said_with_the_way_out(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    with Store.open(str(tmp_path / "s")) as store:
        for number in range(200):
            store.add(key(number), None, record(key(number)))
    file = tmp_path / "s" / "state" / "db" / "db.sqlite"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreError, match="damaged") as error:
        _read_and_write(tmp_path / "s")
    assert str(tmp_path / "s" / "state" / "db") in str(error.value.hint)
    # The way out works.
    (tmp_path / "s" / "state" / "db").rename(tmp_path / "old")
    with Store.open(str(tmp_path / "s")) as store:
        assert store.rows() == []


def test_tables_that_are_not_obuilders_are_damage(tmp_path: Path) -> None:
    (tmp_path / "s" / "state" / "db").mkdir(parents=True)
    _change(tmp_path / "s", "CREATE TABLE builds (name TEXT)")
    with pytest.raises(StoreError, match="damaged"), Store.open(str(tmp_path / "s")) as store:
        store.rows()


def test_a_locked_database_is_waited_for_and_then_said(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "s"), timeout=0.2) as store:
        other = sqlite3.connect(tmp_path / "s" / "state" / "db" / "db.sqlite")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process") as error:
            store.add(key(1), None, record(key(1)))
        assert error.value.hint
        assert store.row(key(1)) is None
        other.rollback()
        other.close()
        store.add(key(1), None, record(key(1)))
        assert store.row(key(1)) is not None


@contextmanager
def _as_nobody() -> Iterator[None]:
    """As a user whom permissions bind; root is made ``nobody`` for the while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory of the user of ``_as_nobody`` that this user can reach."""
    with tempfile.TemporaryDirectory() as made:
        if os.geteuid() == 0:
            os.chown(made, _NOBODY, _NOBODY)
        yield Path(made)


def test_a_directory_that_cannot_be_written_is_said(open_place: Path) -> None:
    open_place.chmod(0o500)
    with _as_nobody():
        error = _refused(open_place / "s", "cannot be written")
        assert "Permission denied" in error.message
    open_place.chmod(0o700)


@pytest.mark.parametrize("name", ["state/db", "state/db/db.sqlite"])
def test_a_database_that_cannot_be_written_is_said(name: str, open_place: Path) -> None:
    with _as_nobody():
        Store.open(str(open_place / "s")).close()
        (open_place / "s" / name).chmod(0o500)
        _refused(open_place / "s", "cannot be written")
        (open_place / "s" / name).chmod(0o700)
        Store.open(str(open_place / "s")).close()


def test_another_users_store_is_refused_to_a_plain_user(open_place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a store of another user")
    Store.open(str(open_place / "s")).close()
    with _as_nobody():
        _refused(open_place / "s", "belongs to the user 0, not to 65534")


def test_a_read_only_file_system_is_said(small_disk: Path) -> None:
    Store.open(str(small_disk / "s")).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    error = _refused(small_disk / "s", "cannot be written")
    assert "Read-only file system" in error.message
    _refused(small_disk / "new", "cannot be written")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    Store.open(str(small_disk / "s")).close()


def _add_many(store: Store) -> None:
    for number in range(2, 500):
        store.add(key(number), key(1), record(key(number), preimage="x" * 5000))


def test_a_full_disk_is_said_and_harms_nothing(small_disk: Path) -> None:
    with Store.open(str(small_disk / "s")) as store:
        store.add(key(1), None, record(key(1)))
        log = store.open_log(key(1))
        fill(small_disk)
        with pytest.raises(StoreError, match="no space left") as error:
            _add_many(store)
        assert "room" in str(error.value.hint)
        with pytest.raises(StoreError, match="no space left"):
            log.write(b"x" * 100_000)
        log.close()
        kept = {row.id for row in store.rows()}
        (small_disk / "filler").unlink()
        store.add(key(1000), key(1), record(key(1000)))
        row = store.row(key(1))
        assert row is not None
        assert row.rc == len(kept)
    with Store.open(str(small_disk / "s")) as store:
        assert {row.id for row in store.rows()} == kept | {key(1000)}


def test_a_store_cannot_begin_on_a_full_disk(small_disk: Path) -> None:
    fill(small_disk)
    _refused(small_disk / "s", "no space left")
    (small_disk / "filler").unlink()
    Store.open(str(small_disk / "s")).close()


def test_a_full_disk_is_said_where_a_store_opens(small_disk: Path) -> None:
    with Store.open(str(small_disk / "s")) as store:
        store.add(key(1), None, record(key(1)))
    fill(small_disk)
    with pytest.raises(StoreError, match="no space left"), Store.open(str(small_disk / "s")) as s:
        _add_many(s)
    (small_disk / "filler").unlink()
    with Store.open(str(small_disk / "s")) as store:
        assert store.row(key(1)) is not None


def test_identity(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "a")) as one, Store.open(str(tmp_path / "b")) as two:
        assert one.store_id is None
        one.set_store_id("0123")
        assert one.store_id == "0123"
        assert two.store_id is None
        assert len(one.secret_key()) == 32
        assert one.secret_key() == one.secret_key() != two.secret_key()
        assert len(one.machine_id()) == 32
        assert one.machine_id() == one.machine_id()
