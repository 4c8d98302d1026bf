"""Real engines take what is written, and what they save is read."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator

import docker
import pytest

from obuild.images.blobs import Blobs
from obuild.images.content import Image
from obuild.images.docker_archive import docker_archive, read_docker_archive
from obuild.images.document import read
from obuild.images.exports import oci_archive
from tests.images import made
from tests.images.made import image, layer
from tests.setup.client import connect
from tests.setup.daemons import Daemon

pytestmark = pytest.mark.engine

_NAME = "obuild-test/archives:1"
_LAYERS = (layer("one"), layer("two", b"2" * 100_000), layer("three"))
_PACKINGS = {
    "plain": ("", "", ""),
    "gzip": ("+gzip", "+gzip", "+gzip"),
    "mixed": ("", "+gzip", "+zstd"),
}


def diff_ids(found: Image, blobs: Blobs) -> tuple[str, ...]:
    return read(blobs.read(found.config.digest, 1 << 20)).diff_ids


def file_of(client: docker.APIClient, name: str, path: str) -> bytes:
    """A file of an image, out of a container that is never started."""
    container = client.create_container(name, ["/none"])["Id"]
    try:
        pieces, _ = client.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            member = archive.extractfile(path.strip("/"))
            assert member is not None
            return member.read()
    finally:
        client.remove_container(container)


def load(client: docker.APIClient, archive: Iterator[bytes]) -> None:
    answers = list(client.load_image(archive, quiet=True))
    assert not [answer for answer in answers if "error" in answer], answers


def test_an_engine_loads_and_saves(
    own_engine: Callable[[], Daemon], blobs: Blobs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = connect(own_engine().host)
    layers = (*_LAYERS, _LAYERS[0])  # saved by old engines as a link
    for how, packings in _PACKINGS.items():
        first = image(blobs, zip(layers, (*packings, packings[0]), strict=True))
        load(client, docker_archive(first, [_NAME, "obuild-test/archives:2"], blobs))
        facts = client.inspect_image(_NAME)
        assert tuple(facts["RootFS"]["Layers"]) == diff_ids(first, blobs), how
        assert facts["Config"]["Env"] == ["A=b"]
        assert {_NAME, "obuild-test/archives:2"} <= set(facts["RepoTags"])
        assert file_of(client, _NAME, "/two") == b"2" * 100_000
        assert file_of(client, _NAME, "/three") == b"content"

        other = Blobs(tmp_path_factory.mktemp("other") / "blobs")
        again = read_docker_archive(client.get_image(_NAME), _NAME, "linux/amd64", other)
        assert again.config.digest == first.config.digest, how
        assert diff_ids(again, other) == diff_ids(first, blobs)
        made.contents(other, again)
        made.assert_sound(other)

        # What was read goes the same way once more.
        client.remove_image(_NAME)
        client.remove_image("obuild-test/archives:2")
        load(client, docker_archive(again, [_NAME], other))
        assert tuple(client.inspect_image(_NAME)["RootFS"]["Layers"]) == diff_ids(first, blobs)
        client.remove_image(_NAME)
    client.close()


def test_an_image_without_a_name_is_loaded(
    own_engine: Callable[[], Daemon], blobs: Blobs, engine_name: str
) -> None:
    client = connect(own_engine().host)
    first = image(blobs, [(each, "+gzip") for each in _LAYERS])
    load(client, docker_archive(first, [], blobs))
    # containerd's store calls an image by its manifest, the others by its configuration.
    named = first.manifest if "containerd" in engine_name else first.config
    assert client.inspect_image(named.digest)["Config"]["Cmd"] == ["/c"]
    client.close()


def test_a_busybox_of_the_engine_is_read(own_engine: Callable[[], Daemon], blobs: Blobs) -> None:
    client = connect(own_engine().host)
    platform = "/".join(client.inspect_image("busybox")[key] for key in ("Os", "Architecture"))
    found = read_docker_archive(client.get_image("busybox"), "busybox", platform, blobs)
    assert list(diff_ids(found, blobs)) == client.inspect_image("busybox")["RootFS"]["Layers"]
    saved = client.get_image("busybox:latest")
    assert read_docker_archive(saved, None, platform, blobs) == found
    client.close()


def test_only_containerd_s_store_takes_a_layout(
    own_engine: Callable[[], Daemon], blobs: Blobs, engine_name: str
) -> None:
    client = connect(own_engine().host)
    first = image(blobs, zip(_LAYERS, made.LAYERS, strict=True))
    archive = oci_archive(first, [_NAME], blobs)
    if "containerd" not in engine_name:
        with pytest.raises((docker.errors.APIError, docker.errors.ImageLoadError)):
            refused(client, archive)
        return
    load(client, archive)
    assert client.inspect_image(_NAME)["Id"] == first.manifest.digest
    assert file_of(client, _NAME, "/three") == b"content"
    saved = b"".join(client.get_image(_NAME))
    with tarfile.open(fileobj=io.BytesIO(saved)) as members:
        index = json.load(members.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == first.manifest.digest
    client.close()


def refused(client: docker.APIClient, archive: Iterator[bytes]) -> None:
    for answer in client.load_image(archive, quiet=True):
        if "error" in answer:
            raise docker.errors.ImageLoadError(answer["error"])
