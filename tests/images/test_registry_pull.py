"""Pulling, from registries that behave and from those that do not."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from obuild.errors import Cancelled, ImageError
from obuild.events import Event, PullProgress
from obuild.images.blobs import Blobs
from obuild.images.content import Image
from obuild.images.credentials import Credentials
from obuild.images.pull import fetch, resolve_digest
from obuild.images.reference import parse
from obuild.images.registries import Registries
from tests.images.conftest import (
    HASTY,
    INDEX,
    LAYER,
    MANIFEST,
    Handler,
    Played,
    descriptor,
    leave_part,
)

_BIG = random.Random(1).randbytes(3 << 20)


def pull(
    played: Played,
    blobs: Blobs,
    name: str = "a:t",
    platform: str = "linux/amd64",
    registries: Registries = Registries(),  # noqa: B008 - a value
    **more: object,
) -> Image:
    reference = parse(f"{played.host}/{name}")
    return fetch(reference, platform, blobs, registries, Credentials(), patience=HASTY, **more)  # type: ignore[arg-type]


def failure(played: Played, blobs: Blobs, **more: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        pull(played, blobs, **more)  # type: ignore[arg-type]
    assert played.host in caught.value.message
    return caught.value


def on(path: str, act: object) -> object:
    """A hook for the paths that hold ``path``; ``act`` gets the handler and the number of
    the request among these, from 1."""
    seen = []

    def hook(handler: Handler) -> bool:
        if path not in handler.path:
            return False
        seen.append(1)
        return act(handler, len(seen)) is not False  # type: ignore[operator]

    return hook


def test_an_image_is_fetched_whole(played: Played, blobs: Blobs) -> None:
    expected = played.add_image("t", b"one", _BIG, b"one")
    events: list[Event] = []
    found = pull(played, blobs, emit=events.append, step=7)
    assert found == expected
    assert [blobs.has(each.digest) for each in (found.manifest, found.config, *found.layers)]
    assert blobs.read(found.layers[1].digest, 1 << 23) == _BIG
    assert all(isinstance(event, PullProgress) and event.step == 7 for event in events)
    last = {event.part: event for event in events if isinstance(event, PullProgress)}
    assert len(last) == 2
    assert {(e.status, e.current == e.total) for e in last.values()} == {
        ("Download complete", True)
    }


def test_what_is_here_is_not_fetched_again(played: Played, blobs: Blobs) -> None:
    played.add_image("t", b"one")
    found = pull(played, blobs)
    played.requests.clear()
    assert pull(played, blobs) == found
    assert played.paths("GET") == ["/v2/"]
    assert len(played.paths("HEAD")) == 1
    played.requests.clear()
    assert pull(played, blobs, f"a@{found.digest}") == found
    assert played.requests == []


def test_the_digest_of_a_name(played: Played) -> None:
    image = played.add_image("t", b"one")
    reference = parse(f"{played.host}/a:t")
    assert resolve_digest(reference, Registries(), Credentials()) == image.digest
    played.hooks.append(lambda handler: handler.command == "HEAD" and handler.answer(405, b""))
    assert resolve_digest(reference, Registries(), Credentials()) == image.digest


@pytest.mark.parametrize(
    ("platform", "layer"),
    [
        ("linux/amd64", b"amd"),
        ("linux/x86_64", b"amd"),
        ("linux/arm64", b"arm64"),
        ("linux/aarch64/v8", b"arm64"),
        ("linux/arm", b"v7"),
        ("linux/arm/v6", b"v6"),
        ("linux/arm/v8", b"v7"),
    ],
)
def test_an_index_gives_the_image_of_the_platform(
    played: Played, blobs: Blobs, platform: str, layer: bytes
) -> None:
    digest = played.add_index(
        "t",
        unknown_unknown=played.add_image("0", b"attested", platform="unknown/unknown"),
        linux_arm_v6=played.add_image("1", b"v6", platform="linux/arm/v6"),
        linux_arm_v7=played.add_image("2", b"v7", platform="linux/arm/v7"),
        linux_amd64=played.add_image("3", b"amd"),
        linux_arm64_v8=played.add_image("4", b"arm64", platform="linux/arm64/v8"),
    )
    found = pull(played, blobs, platform=platform)
    assert found.digest == digest
    assert blobs.read(found.layers[0].digest, 10) == layer


def test_a_platform_that_is_not_there(played: Played, blobs: Blobs) -> None:
    played.add_index("t", linux_amd64=played.add_image("1", b"x"))
    error = failure(played, blobs, platform="linux/s390x")
    assert "no image for linux/s390x" in error.message
    assert error.hint == "it has linux/amd64"
    error = failure(played, blobs, name="a:1", platform="linux/arm64")
    assert "it is for linux/amd64, not for linux/arm64" in error.message


def test_a_cut_blob_goes_on_where_it_was(played: Played, blobs: Blobs) -> None:
    image = played.add_image("t", _BIG)
    layer = image.layers[0].digest

    def cut(handler: Handler, number: int) -> bool:
        if number > 5:
            return False
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        span = f"bytes {begin}-{len(_BIG) - 1}/{len(_BIG)}"
        handler.cut(_BIG[begin:], 500_000, 206 if begin else 200, **{"Content-Range": span})
        return True

    played.hooks.append(on(layer, cut))  # type: ignore[arg-type]
    pull(played, blobs)
    assert blobs.read(layer, 1 << 23) == _BIG
    ranges = [h.get("Range") for _, path, h in played.requests if layer in path]
    assert ranges[0] is None
    assert ranges[1:] == [f"bytes={500_000 * n}-" for n in range(1, 6)]


def test_a_pull_that_was_ended_goes_on_in_the_next(played: Played, blobs: Blobs) -> None:
    layer = played.add_image("t", _BIG).layers[0].digest
    played.hooks.append(on(layer, lambda h, n: h.cut(_BIG, 100_000 if n == 1 else 0)))  # type: ignore[arg-type]
    assert failure(played, blobs).passing
    played.hooks.clear()
    played.requests.clear()
    pull(played, blobs)
    assert [h.get("Range") for _, path, h in played.requests if layer in path] == ["bytes=100000-"]


def test_a_registry_without_ranges_sends_all_again(played: Played, blobs: Blobs) -> None:
    played.ranges = False
    layer = played.add_image("t", _BIG).layers[0].digest
    cut = on(layer, lambda handler, n: n == 1 and (handler.cut(_BIG, 1000), True)[1])
    played.hooks.append(cut)  # type: ignore[arg-type]
    pull(played, blobs)
    assert blobs.read(layer, 1 << 23) == _BIG


@pytest.mark.parametrize("status", [416, 206])
def test_a_registry_that_answers_a_range_wrongly(played: Played, blobs: Blobs, status: int) -> None:
    layer = played.add_image("t", _BIG).layers[0].digest

    def act(handler: Handler, number: int) -> bool:
        if number == 1:
            handler.cut(_BIG, 1000)
        elif "Range" in handler.headers:
            handler.answer(status, b"nonsense", **{"Content-Range": "bytes 5-12/99"})
        else:
            return False
        return True

    played.hooks.append(on(layer, act))  # type: ignore[arg-type]
    pull(played, blobs)
    assert blobs.read(layer, 1 << 23) == _BIG


def test_a_wrong_half_from_an_earlier_try_is_fetched_anew(played: Played, blobs: Blobs) -> None:
    layer = played.add_image("t", _BIG).layers[0]
    leave_part(blobs, layer.digest, b"wrong" * 100)
    pull(played, blobs)
    assert blobs.read(layer.digest, 1 << 23) == _BIG


def test_wrong_content_is_refused(played: Played, blobs: Blobs, tmp_path: Path) -> None:
    layer = played.add_image("t", b"right").layers[0].digest
    played.blobs[layer] = b"wrong"
    error = failure(played, blobs)
    assert layer in error.message
    assert not error.passing
    assert not blobs.has(layer)
    assert list((tmp_path / "blobs" / "parts").iterdir()) == []


def test_an_endless_blob_is_cut_off(played: Played, blobs: Blobs, tmp_path: Path) -> None:
    layer = played.add_image("t", b"right").layers[0].digest

    def endless(handler: Handler, _: int) -> bool:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not played.stopping.is_set():
                handler.wfile.write(b"x" * 65536)
        except OSError:
            handler.close_connection = True
        return True

    played.hooks.append(on(layer, endless))  # type: ignore[arg-type]
    assert "larger than its 5 bytes" in failure(played, blobs).message
    assert list((tmp_path / "blobs" / "parts").iterdir()) == []


def test_an_endless_manifest_is_cut_off(played: Played, blobs: Blobs) -> None:
    image = played.add_image("t", b"x")
    played.manifests[image.manifest.digest] = MANIFEST, b" " * (5 << 20)
    assert "more than 4194304 bytes" in failure(played, blobs).message


def test_a_manifest_of_another_digest(played: Played, blobs: Blobs) -> None:
    image = played.add_image("t", b"x")
    played.manifests[image.manifest.digest] = MANIFEST, b"{}"
    assert "something else than sha256:" in failure(played, blobs).message


_EMPTY = descriptor(b"", "application/vnd.oci.image.config.v1+json")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"<html>log in</html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "neither layers nor manifests"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "old schema 1"),
        (b'{"layers": [], "manifests": []}', "at once"),
        (b'{"layers": [], "config": 7}', "no config"),
        (b'{"layers": [], "config": {"mediaType": "a", "digest": "b", "size": 1}}', "no digest"),
        (b'{"mediaType": 7}', "mediaType"),
        (b'{"manifests": [7]}', "no object"),
    ],
)
def test_what_is_no_image_is_refused(
    played: Played, blobs: Blobs, document: bytes, words: str
) -> None:
    played.add_manifest("t", "text/html", document)
    error = failure(played, blobs)
    assert words in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({**descriptor(b"x", LAYER), "size": -1}, "no size"),
        ({**descriptor(b"x", LAYER), "size": True}, "no size"),
        ({**descriptor(b"x", LAYER), "digest": "sha256:../../x"}, "no digest"),
        (descriptor(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "foreign"),
        (descriptor(b"x", LAYER + "+encrypted"), "cannot be unpacked"),
    ],
)
def test_a_layer_that_cannot_be_had(
    played: Played, blobs: Blobs, layer: dict[str, object], words: str
) -> None:
    document = {"schemaVersion": 2, "config": _EMPTY, "layers": [layer]}
    played.add_manifest("t", MANIFEST, json.dumps(document).encode())
    assert words in failure(played, blobs).message


def test_an_index_of_itself_without_end(played: Played, blobs: Blobs) -> None:
    inner = played.add_manifest("0", INDEX, b'{"manifests": []}')
    for number in range(1, 6):
        size = len(played.manifests[inner][1])
        entry = {"mediaType": INDEX, "digest": inner, "size": size}
        document = json.dumps({"manifests": [entry]}).encode()
        inner = played.add_manifest(str(number), INDEX, document)
    assert "without end" in failure(played, blobs, name="a:5").message


def test_what_is_unknown_says_so(played: Played, blobs: Blobs) -> None:
    error = failure(played, blobs)
    assert "MANIFEST_UNKNOWN: manifest unknown" in error.message
    assert error.hint == "see whether the name and the tag are right"
    assert not error.passing


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_faults_that_pass_are_marked(played: Played, blobs: Blobs, status: int) -> None:
    played.add_image("t", b"x")
    played.hooks.append(on("/manifests/", lambda h, _: h.refuse(status, "BUSY", "later")))  # type: ignore[arg-type]
    assert failure(played, blobs).passing


def test_a_registry_that_asks_to_wait_is_asked_again(played: Played, blobs: Blobs) -> None:
    played.add_image("t", b"x")

    def later(handler: Handler, number: int) -> bool:
        if number > 1:
            return False
        handler.refuse(429, "TOOMANYREQUESTS", "later", **{"Retry-After": "1"})
        return True

    played.hooks.append(on("/manifests/", later))  # type: ignore[arg-type]
    start = time.monotonic()
    pull(played, blobs)
    assert time.monotonic() - start >= 1


def test_blobs_are_tried_again_after_server_errors(played: Played, blobs: Blobs) -> None:
    layer = played.add_image("t", b"x").layers[0].digest
    busy = on(layer, lambda h, n: n <= 3 and (h.refuse(503, "BUSY", "later"), True)[1])
    played.hooks.append(busy)  # type: ignore[arg-type]
    pull(played, blobs)


def test_a_registry_that_is_down_or_silent(played: Played, blobs: Blobs) -> None:
    played.hooks.append(lambda _: played.stopping.wait(10))
    start = time.monotonic()
    error = failure(played, blobs)
    assert error.passing
    assert "nothing came in 2 s" in error.message
    assert time.monotonic() - start < 8
    played.close()
    error = failure(played, blobs)
    assert error.passing
    assert "connection refused" in error.message


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_a_cancelled_pull_ends_at_once(played: Played, blobs: Blobs, where: str) -> None:
    played.add_image("t", b"x")
    cancel, reached = threading.Event(), threading.Event()

    def hang(handler: Handler, _: int) -> bool:
        reached.set()
        return played.stopping.wait(10) or True

    played.hooks.append(on(where, hang))  # type: ignore[arg-type]
    ended: list[float] = []

    def end() -> None:
        reached.wait(5)
        ended.append(time.monotonic())
        cancel.set()

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(Cancelled):
        pull(played, blobs, cancel=cancel)
    assert time.monotonic() - ended[0] < 0.25
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if not any(t.name == "obuild-transfer" for t in threading.enumerate()):
            return
        time.sleep(0.02)
    pytest.fail("threads go on after the end")


def test_a_mirror_is_asked_first_and_may_fail(
    played: Played, elsewhere: Played, blobs: Blobs
) -> None:
    image = played.add_image("t", b"x", _BIG)
    elsewhere.add_image("t", b"x", _BIG)
    mirrored = Registries({played.host: (f"http://{elsewhere.host}",)})
    assert pull(played, blobs, registries=mirrored) == image
    assert played.requests == []
    for each in image.layers:
        blobs.remove(each.digest)
    elsewhere.blobs[image.layers[0].digest] = b"?"
    elsewhere.hooks.append(on(image.layers[1].digest, lambda h, _: h.cut(_BIG, 1000)))  # type: ignore[arg-type]
    assert pull(played, blobs, registries=mirrored) == image
    assert all(blobs.has(each.digest) for each in image.layers)
    elsewhere.close()
    played.add_image("new", b"z")
    pull(played, blobs, "a:new", registries=mirrored)


def test_a_pull_of_a_large_blob_takes_little_memory(played: Played, blobs: Blobs) -> None:
    piece, count = bytes(1 << 20), 200
    hashed = hashlib.sha256()
    for _ in range(count):
        hashed.update(piece)
    digest = f"sha256:{hashed.hexdigest()}"

    def large(handler: Handler, _: int) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(count << 20))
        handler.end_headers()
        for _ in range(count):
            handler.wfile.write(piece)
        return True

    played.hooks.append(on(digest, large))  # type: ignore[arg-type]
    played.add_image("s", b"x")
    document = json.loads(played.manifests["s"][1])
    document["layers"] = [{"mediaType": LAYER, "digest": digest, "size": count << 20}]
    played.add_manifest("t", MANIFEST, json.dumps(document).encode())
    tracemalloc.start()
    try:
        pull(played, blobs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert blobs.size(digest) == count << 20
    assert peak < 16 << 20
