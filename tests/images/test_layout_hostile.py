"""Layouts that are broken, or made to do harm: each is refused, and says why."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.errors import ImageError
from obuild.images.blobs import Blobs
from obuild.images.content import Image
from obuild.images.exports import oci_archive
from obuild.images.layout import read_layout
from tests.images import made
from tests.images.conftest import INDEX, MANIFEST, digest_of
from tests.images.made import CONTAINERD_NAME, REF_NAME, Files, entry, image, layer, link

_AMD64 = "linux/amd64"


@pytest.fixture
def other(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "other")


@pytest.fixture
def good(blobs: Blobs) -> Image:
    return image(blobs)


def name_of(digest: str) -> str:
    return f"blobs/sha256/{digest[7:]}"


def refuse(path: Path, blobs: Blobs, match: str, name: str | None = None) -> None:
    with pytest.raises(ImageError, match=match) as refused:
        read_layout(path, name, _AMD64, blobs)
    assert refused.value.hint
    assert str(path) in refused.value.message
    made.assert_sound(blobs)


Change = Callable[[Files, Image], Files]


def wrong_layer(files: Files, good: Image) -> Files:
    content = files[name_of(good.layers[0].digest)]
    return {**files, name_of(good.layers[0].digest): b"x" + content[1:]}


def short_layer(files: Files, good: Image) -> Files:
    return {**files, name_of(good.layers[1].digest): b"x"}


def long_layer(files: Files, good: Image) -> Files:
    name = name_of(good.layers[1].digest)
    return {**files, name: files[name] + b"x"}


def wrong_config(files: Files, good: Image) -> Files:
    name = name_of(good.config.digest)
    return {**files, name: files[name].replace(b"A=b", b"A=c")}


def wrong_manifest(files: Files, good: Image) -> Files:
    name = name_of(good.manifest.digest)
    return {**files, name: files[name].replace(b"2", b"3", 1)}


def wrong_manifest_size(files: Files, good: Image) -> Files:
    named = {**entry(good.manifest), "size": good.manifest.size + 1}
    return {**files, **made.index_json([named])}


def without(what: str) -> Change:
    def change(files: Files, good: Image) -> Files:
        parts = {"manifest": good.manifest, "config": good.config, "layer": good.layers[1]}
        gone = name_of(parts[what].digest) if what in parts else what
        return {name: content for name, content in files.items() if name != gone}

    return change


def with_index(content: bytes) -> Change:
    return lambda files, _: {**files, "index.json": content}


def with_entry(**more: object) -> Change:
    return lambda files, good: {**files, **made.index_json([{**entry(good.manifest), **more}])}


def with_version(content: bytes) -> Change:
    return lambda files, _: {**files, "oci-layout": content}


def other_layers(files: Files, good: Image) -> Files:
    """A configuration with one layer less than the manifest."""
    config = made.config([layer("a")])
    fields = json.loads(files[name_of(good.manifest.digest)])
    fields["config"] |= {"digest": digest_of(config), "size": len(config)}
    return renamed(files, json.dumps(fields).encode()) | made.blob(config)


def config_is_no_image(files: Files, good: Image) -> Files:
    fields = json.loads(files[name_of(good.manifest.digest)])
    fields["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    return renamed(files, json.dumps(fields).encode())


def both_at_once(files: Files, good: Image) -> Files:
    fields = json.loads(files[name_of(good.manifest.digest)])
    return renamed(files, json.dumps({**fields, "manifests": [entry(good.manifest)]}).encode())


def without_end(files: Files, good: Image) -> Files:
    content = made.index([entry(good.manifest)])
    for _ in range(6):
        files = files | made.blob(content)
        content = made.index([made.index_entry(content)])
    return files | made.blob(content) | {"index.json": content}


def huge_manifest(files: Files, good: Image) -> Files:
    return renamed(files, files[name_of(good.manifest.digest)] + b" " * (5 << 20))


def renamed(files: Files, manifest: bytes) -> Files:
    """With another manifest."""
    named = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    return files | made.blob(manifest) | made.index_json([named])


CHANGES: dict[str, tuple[Change, str]] = {
    "wrong layer": (wrong_layer, "something else"),
    "short layer": (short_layer, "has 1 bytes, not"),
    "long layer": (long_layer, "bytes, not"),
    "wrong config": (wrong_config, "is something else"),
    "wrong manifest": (wrong_manifest, "is something else"),
    "wrong size": (wrong_manifest_size, "bytes, not"),
    "no manifest": (without("manifest"), "is missing"),
    "no config": (without("config"), "is missing"),
    "no layer": (without("layer"), "is missing"),
    "no index": (without("index.json"), "index.json is missing"),
    "no oci-layout": (without("oci-layout"), "it has no file oci-layout"),
    "version 2": (with_version(b'{"imageLayoutVersion": "2.0.0"}'), "of the version '2.0.0'"),
    "no version": (with_version(b"[]"), "tells no version"),
    "deep version": (with_version(b"[" * 100_000), "tells no version"),
    "huge version": (with_version(b"[" * (5 << 20)), "larger than the"),
    "index of nothing": (with_index(b""), "no JSON"),
    "index is a list": (with_index(b"[]"), "no JSON object"),
    "empty index": (with_index(made.index([])), "no image at all"),
    "deep index": (with_index(b'{"manifests":' + b"[" * 100_000), "no JSON"),
    "huge index": (with_index(b" " * (5 << 20)), "larger than the"),
    "a thousand images": (with_index(made.index([{}] * 1001)), "too long"),
    "index is a manifest": (with_index(b'{"layers":[],"config":{}}'), "no kind"),
    "path as digest": (with_entry(digest="sha256:../../../etc/passwd"), "is no digest"),
    "other digest": (with_entry(digest="md5:00"), "is no digest"),
    "negative size": (with_entry(size=-1), "no size"),
    "notes are a list": (with_entry(annotations=["a"]), "annotations"),
    "name is a number": (with_entry(annotations={REF_NAME: 1}), "no text"),
    "name is an object": (with_entry(annotations={CONTAINERD_NAME: {"a": 1}}), "no text"),
    "other layers": (other_layers, "tells of 1 layers, its manifest of 2"),
    "no image": (config_is_no_image, "no image of a container"),
    "both at once": (both_at_once, "at once"),
    "without end": (without_end, "indexes without end"),
    "huge manifest": (huge_manifest, "larger than the"),
}  # fmt: skip


@pytest.mark.parametrize("how", ["folder", "archive", "compressed"])
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_refused(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path, change: str, how: str
) -> None:
    changed, match = CHANGES[change]
    files = changed(made.layout_of((good, blobs, {})), good)
    path = tmp_path / "layout"
    if how == "folder":
        made.write(path, files)
    else:
        content = made.tar(files.items())
        path.write_bytes(gzip.compress(content) if how == "compressed" else content)
    refuse(path, other, match)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (("../escape", b"x"), r"\.\./escape leads out"),
        (("/escape", b"x"), "/escape leads out"),
        (("a/../../escape", b"x"), "leads out"),
        (("a/b", link("../../escape")), "leads out"),
        (("a", link("/etc/passwd")), "leads out"),
        (("a", link("../escape", tarfile.LNKTYPE)), "leads out"),
        (("index.json", b"{}"), "index.json twice"),
        (("./index.json", b"{}"), "index.json twice"),
        (("x/../oci-layout", link("index.json")), "oci-layout twice"),
    ],
)
def test_a_hostile_member_is_refused(
    blobs: Blobs,
    other: Blobs,
    good: Image,
    tmp_path: Path,
    member: made.Member,
    match: str,
) -> None:
    files = made.layout_of((good, blobs, {}))
    (tmp_path / "archive").write_bytes(made.tar([*files.items(), member]))
    refuse(tmp_path / "archive", other, match)
    assert not (tmp_path / "escape").exists()


def test_links_that_go_round_are_refused(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path
) -> None:
    files = made.layout_of((good, blobs, {}))
    name = name_of(good.layers[0].digest)
    del files[name]
    round_about: list[made.Member] = [(name, link("../../b")), ("b", link("c")), ("c", link("b"))]
    (tmp_path / "archive").write_bytes(made.tar([*files.items(), *round_about]))
    refuse(tmp_path / "archive", other, "links without end")


def test_a_link_inside_is_followed(blobs: Blobs, other: Blobs, good: Image, tmp_path: Path) -> None:
    files = made.layout_of((good, blobs, {}))
    first, second = (name_of(each.digest) for each in good.layers)
    links: list[made.Member] = [
        ("one", files.pop(first)),
        (first, link("../../one")),
        ("two", files.pop(second)),
        (second, link("two", tarfile.LNKTYPE)),
    ]
    (tmp_path / "archive").write_bytes(made.tar([*files.items(), *links]))
    assert read_layout(tmp_path / "archive", None, _AMD64, other) == good


def test_a_folder_s_links_and_pipes_are_refused(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path
) -> None:
    for number, name in enumerate(
        ("index.json", "oci-layout", name_of(good.config.digest), "blobs/sha256", "blobs")
    ):
        folder = made.write(tmp_path / str(number), made.layout_of((good, blobs, {})))
        (folder / name).rename(tmp_path / f"moved{number}")
        (folder / name).symlink_to(tmp_path / f"moved{number}")
        refuse(folder, other, "cannot be read")
    folder = made.write(tmp_path / "pipe", made.layout_of((good, blobs, {})))
    (folder / "index.json").unlink()
    os.mkfifo(folder / "index.json")
    refuse(folder, other, "is no file")


def test_a_sparse_member_is_refused(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path
) -> None:
    sparse = tarfile.TarInfo()
    sparse.type = tarfile.GNUTYPE_SPARSE
    archive = made.tar([*made.layout_of((good, blobs, {})).items(), ("holes", sparse)])
    (tmp_path / "archive").write_bytes(archive)
    refuse(tmp_path / "archive", other, "with holes")


def test_a_cut_archive_is_refused(blobs: Blobs, other: Blobs, good: Image, tmp_path: Path) -> None:
    whole = b"".join(oci_archive(good, [], blobs))
    path = tmp_path / "archive"
    for end in (1, 512, 700, len(whole) // 2, len(whole) - 2048, len(whole) - 1024):
        path.write_bytes(whole[:end])
        refuse(path, other, "ends in the middle|no tar archive")
    path.write_bytes(gzip.compress(whole)[:-9])
    refuse(path, other, "ends in the middle")
    path.write_bytes(b"")
    refuse(path, other, "no tar archive")
    path.write_bytes(whole + whole)
    refuse(path, other, "follows the end")


def test_many_small_files_take_no_memory(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path
) -> None:
    """A few bytes, compressed, that become 60 MB of documents."""
    files = made.layout_of((good, blobs, {}))
    junk = [(f"junk/{n}", bytes(60_000)) for n in range(1000)]
    path = tmp_path / "archive"
    path.write_bytes(gzip.compress(made.tar([*junk, *files.items()]), 1))
    tracemalloc.start()
    assert read_layout(path, None, _AMD64, other) == good
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 << 20


def test_what_is_not_there_says_so(blobs: Blobs, tmp_path: Path) -> None:
    refuse(tmp_path / "none", blobs, "No such file")
    refuse(Path("/dev/null"), blobs, "neither a file nor a folder")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", blobs, "no OCI layout")
    refuse(tmp_path / "empty", blobs, "no OCI layout", "@sha256:" + "0" * 64)
    (tmp_path / "docker").write_bytes(made.tar([("manifest.json", b"[]")]))
    refuse(tmp_path / "docker", blobs, "docker save")


@pytest.mark.parametrize("name", ["@sha256:" + "0" * 64, "sha256:zz", "@sha256:../../x", "\ud800"])
def test_a_name_that_is_none(
    blobs: Blobs, other: Blobs, good: Image, tmp_path: Path, name: str
) -> None:
    folder = made.write(tmp_path / "layout", made.layout_of((good, blobs, {})))
    refuse(folder, other, "is missing|is no digest|no image", name)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_change_is_seen_or_harmless(blobs: Blobs, tmp_path: Path, data: st.DataObject) -> None:
    good = image(blobs)
    content = bytearray(b"".join(oci_archive(good, ["a:1"], blobs)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "archive"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 600]))])
    other = Blobs(tmp_path / "other")
    hint: str | None = "none is needed"
    try:
        assert read_layout(path, None, _AMD64, other) == good
    except ImageError as error:
        hint = error.hint
    assert hint
    made.assert_sound(other)
    for digest in other.digests():
        other.remove(digest)


def test_the_form_of_an_index_is_what_others_write(blobs: Blobs, good: Image) -> None:
    archive = b"".join(oci_archive(good, ["a:1"], blobs))
    start = archive.index(b'{"manifests"')
    found = json.loads(archive[start : archive.index(b"\0", start)])
    assert found == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": good.manifest.media_type,
                "digest": good.manifest.digest,
                "size": good.manifest.size,
                "platform": {"os": "linux", "architecture": "amd64"},
                "annotations": {CONTAINERD_NAME: "docker.io/library/a:1", REF_NAME: "1"},
            }
        ],
    }
