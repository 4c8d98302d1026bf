"""Pushing, mostly to a real registry."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from obuild.errors import Cancelled, ImageError
from obuild.events import Event, PullProgress
from obuild.images.blobs import Blobs
from obuild.images.content import Image
from obuild.images.credentials import Credentials
from obuild.images.pull import fetch, resolve_digest
from obuild.images.push import push
from obuild.images.reference import Reference, parse
from obuild.images.registries import Registries
from tests.images.conftest import HASTY, Handler, Played

_BIG = random.Random(2).randbytes(2 << 20)


@pytest.fixture
def image(blobs: Blobs) -> Image:
    """An image that is in ``blobs``."""
    source = Played()
    source.add_image("t", b"one", _BIG)
    reference = parse(f"{source.host}/a:t")
    found = fetch(reference, "linux/amd64", blobs, Registries(), Credentials())
    source.close()
    return found


def send(image: Image, blobs: Blobs, reference: Reference, **more: object) -> str:
    return push(
        image,
        blobs,
        reference,
        Registries(),
        Credentials(),
        patience=HASTY,
        **more,  # type: ignore[arg-type]
    )


def statuses(events: list[Event]) -> list[str]:
    last = {event.part: event.status for event in events if isinstance(event, PullProgress)}
    return sorted(last.values())


def test_what_was_pushed_is_pulled_back(
    real: str, image: Image, blobs: Blobs, tmp_path: Path
) -> None:
    reference = parse(f"{real}/team/back:1")
    events: list[Event] = []
    assert send(image, blobs, reference, emit=events.append) == image.digest
    assert statuses(events) == ["Pushed"] * 3
    assert resolve_digest(reference, Registries(), Credentials()) == image.digest
    other = Blobs(tmp_path / "other")
    assert fetch(reference, "linux/amd64", other, Registries(), Credentials()) == image
    assert list(other.digests()) == list(blobs.digests())
    events.clear()
    send(image, blobs, reference, emit=events.append)
    assert statuses(events) == ["Layer already exists"] * 3


def test_blobs_are_taken_over_from_another_repository(
    real: str, image: Image, blobs: Blobs
) -> None:
    send(image, blobs, parse(f"{real}/origin/a:1"))
    events: list[Event] = []
    origins = {image.layers[1].digest: "origin/a", image.layers[0].digest: "origin/none"}
    send(image, blobs, parse(f"{real}/mounted/a:1"), origins=origins, emit=events.append)
    assert statuses(events) == ["Mounted from origin/a", "Pushed", "Pushed"]


def test_a_push_by_digest(real: str, image: Image, blobs: Blobs) -> None:
    reference = parse(f"{real}/by/digest@{image.digest}")
    assert send(image, blobs, reference) == image.digest


def test_a_blob_that_is_missing_here(real: str, image: Image, blobs: Blobs) -> None:
    blobs.remove(image.layers[0].digest)
    with pytest.raises(ImageError, match="there is no blob"):
        send(image, blobs, parse(f"{real}/missing/a:1"))
    with pytest.raises(ImageError, match=r"(MANIFEST|NAME)_UNKNOWN|does not have it"):
        resolve_digest(parse(f"{real}/missing/a:1"), Registries(), Credentials())


def accept_uploads(played: Played, failures: int = 0) -> list[bytes]:
    """Let uploads be accepted; ``failures`` of them fail first. What was received."""
    received: list[bytes] = []
    failed: list[int] = []

    def hook(handler: Handler) -> bool:
        if handler.command == "POST":
            handler.answer(202, b"", Location="/v2/up/1?state=x")
        elif handler.command == "PUT":
            content = handler.rfile.read(int(handler.headers["Content-Length"]))
            if "/up/" in handler.path and len(failed) < failures:
                failed.append(1)
                handler.refuse(503, "UNAVAILABLE", "later")
                return True
            received.append(content)
            handler.answer(201, b"")
        else:
            return False
        return True

    played.hooks.append(hook)
    return received


def test_uploads_are_tried_again(played: Played, image: Image, blobs: Blobs) -> None:
    received = accept_uploads(played, failures=3)
    send(image, blobs, parse(f"{played.host}/a:1"))
    assert _BIG in received
    assert all("state=x&digest=sha256%3A" in path for path in played.paths("PUT")[:-1])
    assert received[-1] == blobs.read(image.manifest.digest, 1 << 20)


def test_a_registry_that_refuses_uploads(played: Played, image: Image, blobs: Blobs) -> None:
    with pytest.raises(ImageError, match="cannot be pushed as"):
        send(image, blobs, parse(f"{played.host}/a:1"))
    played.hooks.append(lambda h: h.command == "POST" and h.answer(202, b""))
    with pytest.raises(ImageError, match="does not say where to upload"):
        send(image, blobs, parse(f"{played.host}/a:1"))


def test_a_cancelled_push_ends_at_once(played: Played, image: Image, blobs: Blobs) -> None:
    cancel = threading.Event()
    ended: list[float] = []

    def hang(handler: Handler) -> bool:
        if handler.command == "POST":
            handler.answer(202, b"", Location="/v2/up/1")
        elif handler.command == "PUT":
            if not ended:
                ended.append(time.monotonic())
                cancel.set()
            played.stopping.wait(10)
        else:
            return False
        return True

    played.hooks.append(hang)
    with pytest.raises(Cancelled):
        send(image, blobs, parse(f"{played.host}/a:1"), cancel=cancel)
    assert time.monotonic() - ended[0] < 0.25
