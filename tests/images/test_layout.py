"""OCI layouts: what is written is read again, by whatever name, for whatever platform."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import resource
import signal
import subprocess
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

from obuild.errors import Cancelled, ImageError, UsageError
from obuild.images.blobs import Blobs
from obuild.images.content import Descriptor, Image
from obuild.images.exports import oci_archive, write_layout
from obuild.images.layout import read_layout
from tests.images import made
from tests.images.conftest import digest_of
from tests.images.made import CONTAINERD_NAME, REF_NAME, contents, entry, image, layer, layout_of

_AMD64 = "linux/amd64"
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.fixture
def other(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "other")


def written(found: Image, names: list[str], blobs: Blobs, path: Path) -> Path:
    path.write_bytes(b"".join(oci_archive(found, names, blobs)))
    return path


@pytest.mark.parametrize("how", _PACKERS)
def test_an_archive_is_read_again(blobs: Blobs, other: Blobs, tmp_path: Path, how: str) -> None:
    first = image(blobs, [(layer(str(n)), packing) for n, packing in enumerate(made.LAYERS)])
    archive = b"".join(oci_archive(first, ["app:1"], blobs))
    (tmp_path / "archive").write_bytes(_PACKERS[how](archive))
    again = read_layout(tmp_path / "archive", "app:1", _AMD64, other)
    assert again == first
    assert contents(other, again) == contents(blobs, first)
    assert list(other.digests()) == list(blobs.digests())


def test_a_folder_is_read_again(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    first = image(blobs)
    write_layout(first, ["app:1", "app:2"], blobs, tmp_path / "a/b")
    for name in (None, "1", "app:2", "docker.io/library/app:1", f"@{first.manifest.digest}"):
        again = read_layout(tmp_path / "a/b", name, _AMD64, other)
        assert again == first
    assert contents(other, first) == contents(blobs, first)


def test_a_pipe_is_read(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    first = image(blobs, [(layer("a", os.urandom(100_000)), "+gzip"), (layer("b"), "")])
    archive = b"".join(oci_archive(first, [], blobs))
    os.mkfifo(tmp_path / "pipe")
    sender = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(archive,))
    sender.start()
    assert read_layout(tmp_path / "pipe", None, _AMD64, other) == first
    sender.join()
    assert contents(other, first) == contents(blobs, first)


def test_equal_images_give_equal_bytes(blobs: Blobs, other: Blobs) -> None:
    first = b"".join(oci_archive(image(blobs), ["a:1", "b"], blobs))
    assert b"".join(oci_archive(image(other), ["a:1", "b", "b:latest"], other)) == first
    with tarfile.open(fileobj=BytesIO(first)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members[:2]] == ["oci-layout", "index.json"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o644, "")}


def test_an_equal_layer_is_written_once(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    twice = image(blobs, [(layer("a"), ""), (layer("b"), ""), (layer("a"), "")])
    path = written(twice, [], blobs, tmp_path / "archive")
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert len(set(names)) == len(names) == 6
    assert read_layout(path, None, _AMD64, other) == twice


def test_the_image_is_found_by_its_names(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    one, two, three = (image(blobs, [(layer(name), "")]) for name in "123")
    whole = {CONTAINERD_NAME: "docker.io/library/app:1", REF_NAME: "1"}
    files = layout_of(
        (one, blobs, {"annotations": whole}),
        (two, blobs, {"annotations": {REF_NAME: "example.org/tool:2"}}),
        (three, blobs, {"annotations": {REF_NAME: "any words"}}),
    )
    folder = made.write(tmp_path / "layout", files)
    for name, expected in {
        "app:1": one,
        "docker.io/app:1": one,
        "1": one,
        "example.org/tool:2": two,
        "any words": three,
        three.manifest.digest: three,
    }.items():
        assert read_layout(folder, name, _AMD64, other) == expected
    with pytest.raises(ImageError, match="no image app:2") as wrong:
        read_layout(folder, "app:2", _AMD64, other)
    assert wrong.value.hint is not None
    assert "docker.io/library/app:1, example.org/tool:2, any words" in wrong.value.hint
    with pytest.raises(ImageError, match="more than one image"):
        read_layout(folder, None, _AMD64, other)


def test_a_tag_is_no_short_name(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    """The tag ``app`` is not the image ``app:latest``."""
    files = layout_of((image(blobs), blobs, {"annotations": {REF_NAME: "app"}}))
    folder = made.write(tmp_path / "layout", files)
    with pytest.raises(ImageError, match="no image app:latest"):
        read_layout(folder, "app:latest", _AMD64, other)


def platform(name: str) -> dict[str, object]:
    names = ("os", "architecture", "variant")
    return {"platform": dict(zip(names, name.split("/"), strict=False))}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_platform_chooses(blobs: Blobs, other: Blobs, tmp_path: Path, depth: int) -> None:
    known = ("linux/amd64", "linux/arm/v7", "linux/arm64/v8")
    images = {each: image(blobs, [(layer(each), "")], each) for each in known}
    files = layout_of(*((found, blobs, platform(each)) for each, found in images.items()))
    for _ in range(depth):
        inner = files["index.json"]
        files |= made.blob(inner) | made.index_json([made.index_entry(inner)])
    folder = made.write(tmp_path / "layout", files)
    for wanted, found in (
        ("linux/amd64", images["linux/amd64"]),
        ("linux/arm64", images["linux/arm64/v8"]),
        ("linux/arm/v7", images["linux/arm/v7"]),
    ):
        assert read_layout(folder, None, wanted, other) == found
    with pytest.raises(ImageError, match=r"no image for linux/s390x"):
        read_layout(folder, None, "linux/s390x", other)


def test_an_index_can_be_named_by_its_digest(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    one, two = image(blobs), image(blobs, [(layer("arm"), "")], "linux/arm64")
    inner = made.index(
        [entry(one.manifest, **platform(_AMD64)), entry(two.manifest, **platform("linux/arm64"))]
    )
    files = layout_of((one, blobs, {}), (two, blobs, {})) | made.blob(inner)
    folder = made.write(tmp_path / "layout", files)
    digest = f"@{digest_of(inner)}"
    assert read_layout(folder, digest, "linux/arm64", other) == two
    assert read_layout(folder, digest, _AMD64, other) == one


def test_an_image_for_another_platform_is_refused(
    blobs: Blobs, other: Blobs, tmp_path: Path
) -> None:
    path = written(image(blobs, platform="linux/arm64"), [], blobs, tmp_path / "archive")
    with pytest.raises(ImageError, match="it is for linux/arm64, not for linux/amd64"):
        read_layout(path, None, _AMD64, other)
    assert list(other.digests()) == []


def test_layers_that_are_there_need_not_be_in_it(
    blobs: Blobs, other: Blobs, tmp_path: Path
) -> None:
    found = image(blobs)
    files = layout_of((found, blobs, {}))
    missing = found.layers[0].digest
    del files[f"blobs/sha256/{missing[7:]}"]
    folder = made.write(tmp_path / "layout", files)
    with pytest.raises(ImageError, match=f"{missing[7:]} is missing"):
        read_layout(folder, None, _AMD64, other)
    other.put((made.layer("a"),), "")
    assert read_layout(folder, None, _AMD64, other) == found


def test_it_is_cancelled(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    path = written(image(blobs), [], blobs, tmp_path / "archive")
    flag = threading.Event()
    flag.set()
    with pytest.raises(Cancelled):
        read_layout(path, None, _AMD64, other, cancel=flag)
    assert list(other.digests()) == []


@pytest.mark.parametrize("how", ["plain", "gzip", "pipe"])
def test_memory_stays_flat(blobs: Blobs, other: Blobs, tmp_path: Path, how: str) -> None:
    big = image(blobs, [(layer("big", bytes(48 << 20)), ""), (layer("small"), "")])
    path = written(big, [], blobs, tmp_path / "archive")
    if how == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    archive, sender = path, None
    if how == "pipe":
        archive = tmp_path / "pipe"
        os.mkfifo(archive)
        command = 'exec cat "$0" > "$1"'
        sender = subprocess.Popen(["sh", "-c", command, str(path), str(archive)])
    tracemalloc.start()
    try:
        assert read_layout(archive, None, _AMD64, other) == big
        for _ in oci_archive(big, [], other):
            pass
        write_layout(big, [], other, tmp_path / "folder")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        if sender is not None:
            sender.kill()
            sender.wait()
    assert peak < 12 << 20


def test_a_folder_in_use_stays_as_it_is(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        write_layout(image(blobs), [], blobs, tmp_path / "folder")
    assert os.listdir(tmp_path / "folder") == ["mine"]


def test_nothing_is_left_of_half_a_layout(blobs: Blobs, tmp_path: Path) -> None:
    found = image(blobs)
    path = tmp_path / "blobs" / "sha256" / found.layers[1].digest[7:]
    content = path.read_bytes()
    parts = oci_archive(found, [], blobs)
    next(parts)
    path.write_bytes(content[:-1])  # after the sizes were looked at
    with pytest.raises(ImageError, match="bytes, not"):
        b"".join(parts)
    with pytest.raises(ImageError, match="bytes, not"):
        write_layout(found, [], blobs, tmp_path / "new")
    blobs.remove(found.layers[1].digest)
    with pytest.raises(ImageError, match="no blob"):
        write_layout(found, [], blobs, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_layout_that_cannot_be_written_says_so(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match="cannot be written"):
        write_layout(image(blobs), [], blobs, tmp_path / "file" / "folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "none" / "none")
    with pytest.raises(ImageError, match="cannot be written"):
        write_layout(image(blobs), [], blobs, tmp_path / "dangling")
    assert (tmp_path / "file").read_text() == "x"


def test_a_full_disk_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    """A limit for files stands for the disk: it is met in the largest layer."""
    found = image(blobs, [(layer("a", bytes(1 << 20)), ""), (layer("b"), "")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        with pytest.raises(ImageError, match="cannot be written: File too large"):
            write_layout(found, [], blobs, tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["UPPER", "a@sha256:" + "0" * 64, ""])
def test_what_is_no_tag_is_refused(blobs: Blobs, name: str) -> None:
    with pytest.raises(ImageError):
        oci_archive(image(blobs), [name], blobs)


def test_a_wrong_size_is_not_written(blobs: Blobs) -> None:
    found = image(blobs)
    wrong = Descriptor(found.layers[0].media_type, found.layers[0].digest, 1)
    with pytest.raises(ImageError, match="bytes, not 1"):
        oci_archive(Image(found.manifest, found.config, (wrong,)), [], blobs)
