"""Blobs: whole or not there, whoever writes them, whoever dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from obuild.errors import Cancelled, ImageError, StoreError
from obuild.images.blobs import Blobs
from tests.images.conftest import digest_of, leave_part

_CONTENT = b"some content" * 1000
_DIGEST = digest_of(_CONTENT)


def parts(folder: Path) -> list[str]:
    return os.listdir(folder / "blobs" / "parts")


def test_what_is_put_is_there(blobs: Blobs, tmp_path: Path) -> None:
    assert not blobs.has(_DIGEST)
    kept = blobs.put((_CONTENT[:7], _CONTENT[7:]), "text/plain")
    assert (kept.digest, kept.size, kept.media_type) == (_DIGEST, len(_CONTENT), "text/plain")
    assert blobs.has(_DIGEST)
    assert blobs.size(_DIGEST) == len(_CONTENT)
    assert blobs.read(_DIGEST, len(_CONTENT)) == _CONTENT
    with blobs.open(_DIGEST) as file:
        assert file.read() == _CONTENT
    assert list(blobs.digests()) == [_DIGEST]
    assert parts(tmp_path) == []
    blobs.remove(_DIGEST)
    blobs.remove(_DIGEST)
    assert not blobs.has(_DIGEST)


def test_nobody_else_can_read(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put((_CONTENT,), "")
    for path in (tmp_path / "blobs", *(tmp_path / "blobs").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_put_that_fails_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    def pieces() -> object:
        yield b"a"
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the very one
        blobs.put(pieces(), "")  # type: ignore[arg-type]
    assert parts(tmp_path) == []
    assert list(blobs.digests()) == []


@pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "sha512:" + "0" * 128, "x"])
def test_a_digest_that_is_none_is_no_path(blobs: Blobs, digest: str) -> None:
    for use in (blobs.has, blobs.open, blobs.size, blobs.remove):
        with pytest.raises(ImageError):
            use(digest)
    with pytest.raises(ImageError), blobs.incoming(digest, 1):
        pass


def test_what_is_not_there_says_so(blobs: Blobs) -> None:
    for use in (blobs.open, blobs.size, lambda digest: blobs.read(digest, 10)):
        with pytest.raises(ImageError, match="no blob"):
            use(_DIGEST)


def test_a_document_is_bounded_and_verified(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put((_CONTENT,), "")
    with pytest.raises(ImageError, match="larger"):
        blobs.read(_DIGEST, len(_CONTENT) - 1)
    (tmp_path / "blobs" / "sha256" / _DIGEST[7:]).write_bytes(b"other")
    with pytest.raises(ImageError, match="damaged"):
        blobs.read(_DIGEST, 100)


def test_a_cut_blob_goes_on(blobs: Blobs) -> None:
    leave_part(blobs, _DIGEST, _CONTENT[:100])
    assert not blobs.has(_DIGEST)
    with blobs.incoming(_DIGEST, len(_CONTENT)) as coming:
        assert coming.offset == 100
        coming.write(_CONTENT[100:])
    assert blobs.read(_DIGEST, 1 << 20) == _CONTENT


def test_a_blob_that_begins_again(blobs: Blobs) -> None:
    with blobs.incoming(_DIGEST, None) as coming:
        coming.write(b"something else")
        coming.restart()
        coming.write(_CONTENT)
    assert blobs.has(_DIGEST)


@pytest.mark.parametrize("wrong", [b"", _CONTENT[:-1], _CONTENT[:-1] + b"!", _CONTENT + b"!"])
def test_wrong_content_is_not_kept(blobs: Blobs, tmp_path: Path, wrong: bytes) -> None:
    with (
        pytest.raises(ImageError, match="what came"),
        blobs.incoming(_DIGEST, len(_CONTENT)) as coming,
    ):
        coming.write(wrong)
    assert parts(tmp_path) == []
    assert not blobs.has(_DIGEST)


def test_the_empty_blob(blobs: Blobs) -> None:
    with blobs.incoming(digest_of(b""), 0):
        pass
    assert blobs.has(digest_of(b""))


def test_two_threads_fetch_it_once(blobs: Blobs) -> None:
    wrote: list[bool] = []

    def fetch() -> None:
        with blobs.incoming(_DIGEST, len(_CONTENT)) as coming:
            wrote.append(not coming.there)
            for start in range(0, len(_CONTENT), 1000):
                coming.write(_CONTENT[start : start + 1000])
                time.sleep(0.01)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wrote) == [False, False, False, True]
    assert blobs.read(_DIGEST, 1 << 20) == _CONTENT


def test_waiting_for_another_can_be_cancelled(blobs: Blobs) -> None:
    cancel = threading.Event()
    cancel.set()
    with blobs.incoming(_DIGEST, None) as coming:
        with pytest.raises(Cancelled), blobs.incoming(_DIGEST, None, cancel):
            pass
        coming.write(_CONTENT)
    assert blobs.has(_DIGEST)


def test_a_killed_process_leaves_a_part_that_goes_on(blobs: Blobs, tmp_path: Path) -> None:
    script = (
        "import sys,time;from pathlib import Path;from obuild.images.blobs import Blobs\n"
        f"with Blobs(Path(sys.argv[1])).incoming({_DIGEST!r}, {len(_CONTENT)}) as coming:\n"
        " coming.write(b'some content' * 10); print('ready', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "blobs")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(parts(tmp_path)) == 1
    with blobs.incoming(_DIGEST, len(_CONTENT)) as coming:
        assert coming.offset == 120
        coming.write(_CONTENT[120:])
    assert parts(tmp_path) == []


def test_sweep_takes_only_what_nobody_writes(blobs: Blobs, tmp_path: Path) -> None:
    other = digest_of(b"other")
    for digest in (_DIGEST, other):
        leave_part(blobs, digest, b"some")
    blobs.sweep(3600)
    assert len(parts(tmp_path)) == 2
    with blobs.incoming(other, None) as coming:
        blobs.sweep(0)
        assert parts(tmp_path) == [f"{other[7:]}.part"]
        coming.restart()
        coming.write(b"other")
    assert list(blobs.digests()) == [other]


def test_a_link_in_the_place_of_a_part_is_not_followed(blobs: Blobs, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"alive")
    (tmp_path / "blobs" / "parts" / f"{_DIGEST[7:]}.part").symlink_to(canary)
    with pytest.raises(StoreError), blobs.incoming(_DIGEST, None):
        pass
    assert canary.read_bytes() == b"alive"


def test_a_folder_that_cannot_be_made_is_the_stores_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        Blobs(tmp_path / "file" / "blobs")
    assert caught.value.hint
