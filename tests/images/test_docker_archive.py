"""Archives of ``docker save``, of the old form and the new one, and those for ``docker load``."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obuild.errors import Cancelled, ImageError
from obuild.images.blobs import Blobs
from obuild.images.content import Image
from obuild.images.docker_archive import docker_archive, read_docker_archive
from obuild.images.document import read
from obuild.images.exports import oci_archive
from obuild.images.layout import read_layout
from tests.images import made
from tests.images.conftest import MANIFEST, digest_of
from tests.images.made import Member, contents, image, layer, link, packed

_AMD64 = "linux/amd64"
_ONE, _TWO = layer("one"), layer("two", os.urandom(200_000))


@pytest.fixture
def other(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "other")


def hex_of(content: bytes) -> str:
    return digest_of(content)[7:]


def manifest_json(*items: tuple[str, list[str], object]) -> bytes:
    keys = ("Config", "Layers", "RepoTags")
    return json.dumps([dict(zip(keys, item, strict=True)) for item in items]).encode()


def old_form(config: bytes, *layers: bytes, names: object = ("app:1",)) -> list[Member]:
    """As Docker 20.10 saves an image: of equal layers all but the first are links."""
    members: list[Member] = []
    first: dict[bytes, str] = {}
    for number, content in enumerate(layers):
        own = f"{number:064x}"
        members += [(f"{own}/VERSION", b"1.0"), (f"{own}/json", b"{}")]
        if content in first:
            members.append((f"{own}/layer.tar", link(f"../{first[content]}/layer.tar")))
        else:
            members.append((f"{own}/layer.tar", content))
        first.setdefault(content, own)
    files = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    name = f"{hex_of(config)}.json"
    members += [
        (name, config),
        ("manifest.json", manifest_json((name, files, names))),
        ("repositories", b"{}"),
    ]
    return members


def new_form(config: bytes, *layers: bytes, names: object = ("app:1",)) -> list[Member]:
    """As Docker 25 and later do, without what only readers of layouts look at."""
    files = [f"blobs/sha256/{hex_of(each)}" for each in layers]
    name = f"blobs/sha256/{hex_of(config)}"
    blobs = dict(zip([*files, name], [*layers, config], strict=True))
    return [*blobs.items(), ("manifest.json", manifest_json((name, files, names)))]


_FORMS = {"old": old_form, "new": new_form}


def take(archive: bytes, blobs: Blobs, name: str | None = None, wanted: str = _AMD64) -> Image:
    return read_docker_archive(io.BytesIO(archive), name, wanted, blobs)


@pytest.mark.parametrize("way", ["file", "compressed", "stream", "pieces", "pipe", "packed stream"])
@pytest.mark.parametrize("form", _FORMS)
def test_an_archive_is_read(blobs: Blobs, tmp_path: Path, form: str, way: str) -> None:
    config = made.config([_ONE, _TWO, _ONE])
    archive = made.tar(_FORMS[form](config, _ONE, _TWO, _ONE))
    path, sender = tmp_path / "archive", None
    if way == "pipe":
        os.mkfifo(path)
        sender = threading.Thread(target=path.write_bytes, args=(archive,), daemon=True)
        sender.start()
    else:
        path.write_bytes(gzip.compress(archive) if "compressed" in way else archive)
    source: Path | io.BytesIO | Iterator[bytes] = path
    if way == "stream":
        source = io.BytesIO(archive)
    elif way == "pieces":
        source = made.in_pieces(archive)
    elif way == "packed stream":
        source = made.in_pieces(gzip.compress(archive))
    found = read_docker_archive(source, "app:1", _AMD64, blobs)
    if sender is not None:
        sender.join(10)
    assert found.config.digest == digest_of(config)
    assert [each.digest for each in found.layers] == [digest_of(x) for x in (_ONE, _TWO, _ONE)]
    assert {each.media_type for each in found.layers} == {made.TAR}
    taken = contents(blobs, found)
    assert taken[digest_of(_TWO)] == _TWO
    fields = json.loads(taken[found.manifest.digest])
    assert fields["mediaType"] == found.manifest.media_type == MANIFEST
    assert [each["digest"] for each in fields["layers"]] == [each.digest for each in found.layers]
    assert found.digest is None
    made.assert_sound(blobs)


@pytest.mark.parametrize("packing", made.LAYERS)
@pytest.mark.parametrize("form", _FORMS)
def test_layers_stay_as_they_are(blobs: Blobs, form: str, packing: str) -> None:
    kept = packed(_TWO, packing)
    found = take(made.tar(_FORMS[form](made.config([_TWO]), kept)), blobs)
    (taken,) = found.layers
    assert (taken.digest, taken.media_type) == (digest_of(kept), made.TAR + packing)
    assert take(made.tar(_FORMS[form](made.config([_TWO]), kept)), blobs) == found
    made.assert_sound(blobs)


def test_a_packing_without_a_name_is_undone(blobs: Blobs) -> None:
    found = take(made.tar(old_form(made.config([_TWO]), bz2.compress(_TWO))), blobs)
    assert [(each.digest, each.media_type) for each in found.layers] == [
        (digest_of(_TWO), made.TAR)
    ]


def several() -> bytes:
    one, two = made.config([_ONE]), made.config([_TWO])
    return made.tar(
        [
            ("1.json", one),
            ("2.json", two),
            ("1/layer.tar", _ONE),
            ("2/layer.tar", _TWO),
            (
                "manifest.json",
                manifest_json(
                    ("1.json", ["1/layer.tar"], ["app:1", "example.org/app:latest"]),
                    ("2.json", ["2/layer.tar"], ["app:2"]),
                    ("2.json", ["2/layer.tar"], None),
                ),
            ),
        ]
    )


def test_the_image_is_found_by_its_name(blobs: Blobs) -> None:
    for name, expected in {
        "app:1": _ONE,
        "example.org/app": _ONE,
        "docker.io/library/app:2": _TWO,
    }.items():
        assert take(several(), blobs, name).layers[0].digest == digest_of(expected)
    with pytest.raises(ImageError, match="no image app:3") as missing:
        take(several(), blobs, "app:3")
    assert missing.value.hint == "it has app:1, example.org/app:latest, app:2"
    with pytest.raises(ImageError, match="more than one image") as unsaid:
        take(several(), blobs)
    assert unsaid.value.hint is not None
    assert "app:1" in unsaid.value.hint


def test_what_is_not_wanted_of_a_file_is_not_kept(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(several())
    found = read_docker_archive(tmp_path / "archive", "app:1", _AMD64, blobs)
    assert set(blobs.digests()) == set(contents(blobs, found))


def test_the_platform_chooses(blobs: Blobs) -> None:
    arm = made.config([_TWO], "linux/arm64")
    members = new_form(made.config([_ONE]), _ONE)[:-1] + new_form(arm, _TWO)[:-1]
    items = [
        (f"blobs/sha256/{hex_of(config)}", [f"blobs/sha256/{hex_of(content)}"], ["app:1"])
        for config, content in ((made.config([_ONE]), _ONE), (arm, _TWO))
    ]
    archive = made.tar([*members, ("manifest.json", manifest_json(*items))])
    assert take(archive, blobs, "app:1").layers[0].digest == digest_of(_ONE)
    assert take(archive, blobs, None, "linux/arm64").layers[0].digest == digest_of(_TWO)
    with pytest.raises(ImageError, match="no image for linux/s390x"):
        take(archive, blobs, "app:1", "linux/s390x")


def test_another_platform_is_refused(blobs: Blobs) -> None:
    with pytest.raises(ImageError, match="it is for linux/arm64"):
        take(made.tar(old_form(made.config([_ONE], "linux/arm64"), _ONE)), blobs)


def replaced(members: list[Member], name: str, content: bytes | tarfile.TarInfo) -> list[Member]:
    return [(its, content if its == name else was) for its, was in members]


def hostile() -> dict[str, tuple[list[Member], str]]:
    config = made.config([_ONE, _TWO])
    good = old_form(config, _ONE, _TWO)
    first, second = (f"{number:064x}/layer.tar" for number in (0, 1))
    new = new_form(config, _ONE, _TWO)
    name = f"{hex_of(config)}.json"

    def told(content: object) -> list[Member]:
        return replaced(good, "manifest.json", json.dumps(content).encode())

    def item(**more: object) -> list[Member]:
        return told([{"Config": name, "Layers": [first, second], "RepoTags": None, **more}])

    return {
        "another layer": (replaced(good, first, layer("evil")), "its digest is"),
        "swapped layers": (item(Layers=[second, first]), "something else|bytes, not"),
        "one layer twice": (item(Layers=[first, first]), "two different layers"),
        "missing layer": (item(Layers=[first, "x"]), "x is missing"),
        "layer outside": (item(Layers=[first, "../../etc/passwd"]), "leads out"),
        "absolute layer": (item(Layers=[first, "/etc/passwd"]), "leads out"),
        "absolute config": (item(Config="/etc/passwd"), "leads out"),
        "surrogate": (item(Config="\ud800"), "is missing"),
        "link outside": (replaced(good, second, link("../../etc/passwd")), "leads out"),
        "absolute link": (replaced(good, second, link("/etc/passwd")), "leads out"),
        "link to itself": (replaced(good, second, link("layer.tar")), "links without end"),
        "dangling link": (replaced(good, second, link("../x")), "is missing"),
        "too few layers": (item(Layers=[first]), "tells of 2 layers, its manifest of 1"),
        "wrong config": (replaced(good, name, config + b" "), "something else"),
        "config is no JSON": (replaced(new, new[2][0], b"{"), "something else"),
        "config of 9 MiB": (replaced(good, name, b" " * (9 << 20)), "larger than the"),
        "wrong blob": (replaced(new, new[0][0], gzip.compress(_ONE)), "something else"),
        "list twice": ([*good, ("manifest.json", b"[]")], "twice"),
        "list of 5 MiB": (replaced(good, "manifest.json", b" " * (5 << 20)), "larger than the"),
        "deep list": (replaced(good, "manifest.json", b"[" * 100_000), "no JSON"),
        "empty list": (told([]), "no image at all"),
        "object": (told({}), "no list"),
        "list of texts": (told(["a"]), "what an image consists of"),
        "no config": (item(Config=None), "what an image consists of"),
        "layers are a text": (item(Layers="abc"), "what an image consists of"),
        "names are an object": (item(RepoTags={"a": 1}), "what an image consists of"),
        "a thousand layers": (item(Layers=["a"] * 1001), "what an image consists of"),
        "a thousand images": (told([{}] * 1001), "too long"),
        "outside": ([("../x", b""), *good], "leads out"),
        "absolute": ([("/x", b""), *good], "leads out"),
        "no list": ([("x", b"")], "no manifest.json"),
        "a layout": ([("index.json", b"")], "no manifest.json"),
    }


@pytest.mark.parametrize("way", ["file", "compressed", "stream"])
@pytest.mark.parametrize("attack", list(hostile()))
def test_it_is_refused(blobs: Blobs, tmp_path: Path, attack: str, way: str) -> None:
    members, match = hostile()[attack]
    archive = made.tar(members)
    path = tmp_path / "archive"
    path.write_bytes(gzip.compress(archive, 1) if way == "compressed" else archive)
    source = io.BytesIO(archive) if way == "stream" else path
    with pytest.raises(ImageError, match=match) as refused:
        read_docker_archive(source, None, _AMD64, blobs)
    assert refused.value.hint
    made.assert_sound(blobs)


def test_what_is_no_archive_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    for source, match in (
        (tmp_path, "it is a folder"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/null"), "neither a file nor a folder"),
    ):
        with pytest.raises(ImageError, match=match):
            read_docker_archive(source, None, _AMD64, blobs)
    whole = made.tar(old_form(made.config([_TWO]), _TWO))
    for end in (0, 100, 1000, 100_000, len(whole) - 10240):
        with pytest.raises(ImageError, match=r"ends in the middle|no tar archive"):
            take(whole[:end], blobs)
    made.assert_sound(blobs)


def test_it_is_cancelled(blobs: Blobs, tmp_path: Path) -> None:
    archive = made.tar(old_form(made.config([_ONE]), _ONE))
    (tmp_path / "archive").write_bytes(archive)
    flag = threading.Event()
    flag.set()
    for source in (tmp_path / "archive", io.BytesIO(archive)):
        with pytest.raises(Cancelled):
            read_docker_archive(source, None, _AMD64, blobs, cancel=flag)
    assert list(blobs.digests()) == []


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_change_is_seen_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    blobs = Blobs(tmp_path / "fuzzed")
    form = _FORMS[data.draw(st.sampled_from(sorted(_FORMS)))]
    config = made.config([_ONE])
    archive = bytearray(made.tar(form(config, _ONE)))
    for _ in range(data.draw(st.integers(1, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    hint: str | None = "none is needed"
    try:
        found = take(bytes(archive), blobs)
        assert [each.digest for each in found.layers] == [digest_of(_ONE)]
        assert found.config.digest == digest_of(config)
    except ImageError as error:
        hint = error.hint
    assert hint
    made.assert_sound(blobs)
    for digest in blobs.digests():
        blobs.remove(digest)


def test_what_is_written_is_read(blobs: Blobs, other: Blobs) -> None:
    first = image(blobs, [(_ONE, ""), (_TWO, "+gzip"), (_ONE, "")])
    archive = b"".join(docker_archive(first, ["app:1", "app"], blobs))
    for name in (None, "app:1", "docker.io/library/app:latest"):
        again = take(archive, other, name)
        assert (again.config, again.layers) == (first.config, first.layers)
    assert take(b"".join(docker_archive(first, [], blobs)), other) == again
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        names = members.getnames()
        told = json.load(members.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert names[:3] == ["oci-layout", "index.json", "manifest.json"]
    assert len(set(names)) == len(names)
    assert told[0]["RepoTags"] == ["app:1", "app:latest"]


def test_it_is_a_layout_as_well(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    first = image(blobs)
    (tmp_path / "archive").write_bytes(b"".join(docker_archive(first, ["app:1"], blobs)))
    assert read_layout(tmp_path / "archive", "app:1", _AMD64, other) == first


def test_zstd_is_undone(blobs: Blobs, other: Blobs, tmp_path: Path) -> None:
    first = image(blobs, [(_ONE, "+gzip"), (_TWO, "+zstd")])
    archive = b"".join(docker_archive(first, ["app:1"], blobs))
    again = take(archive, other)
    assert again.config == first.config
    assert again.layers[0] == first.layers[0]
    assert (again.layers[1].digest, again.layers[1].media_type) == (digest_of(_TWO), made.TAR)
    (tmp_path / "archive").write_bytes(archive)
    assert read_layout(tmp_path / "archive", "app:1", _AMD64, other).layers == again.layers


def test_equal_images_give_equal_bytes(blobs: Blobs, other: Blobs) -> None:
    layers = [(_ONE, ""), (_TWO, "+zstd")]
    first, second = image(blobs, layers), image(other, layers)
    assert b"".join(docker_archive(first, ["a:1"], blobs)) == b"".join(
        docker_archive(second, ["a:1"], other)
    )


def test_a_layout_is_told_from_an_archive_of_docker(blobs: Blobs, other: Blobs) -> None:
    with pytest.raises(ImageError) as refused:
        take(b"".join(oci_archive(image(blobs), [], blobs)), other)
    assert refused.value.hint == "it is an OCI layout: name it as oci-archive:FILE"


@pytest.mark.parametrize("packing", made.LAYERS)
def test_memory_stays_flat(blobs: Blobs, other: Blobs, packing: str) -> None:
    big = image(blobs, [(layer("big", bytes(48 << 20)), packing)])
    tracemalloc.start()
    try:
        again = read_docker_archive(docker_archive(big, [], blobs), None, _AMD64, other)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.config == big.config
    assert peak < 14 << 20


@pytest.mark.parametrize("name", ["UPPER", "a@sha256:" + "0" * 64])
def test_what_is_no_tag_is_refused(blobs: Blobs, name: str) -> None:
    with pytest.raises(ImageError):
        docker_archive(image(blobs), [name], blobs)


def test_a_missing_layer_is_told_at_once(blobs: Blobs) -> None:
    found = image(blobs)
    blobs.remove(found.layers[0].digest)
    with pytest.raises(ImageError, match="no blob"):
        docker_archive(found, [], blobs)
    assert read(blobs.read(found.config.digest, 1 << 20)).diff_ids
