"""Image configurations: read, hostile ones refused, made anew on others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from obuild.errors import ImageError
from obuild.images.content import Descriptor
from obuild.images.document import Layer, manifest, new, read, timestamp
from obuild.ir.image import ImageConfig

_A, _B = (f"sha256:{letter * 64}" for letter in "ab")
_BASE: dict[str, Any] = {
    "os": "linux",
    "architecture": "arm64",
    "variant": "v8",
    "docker_version": "20.10",
    "unknown": {"kept": True},
    "config": {
        "Env": ["PATH=/bin"],
        "Cmd": ["sh"],
        "Labels": {"a": "b"},
        "Healthcheck": {"Test": ["NONE"]},
        "WorkingDir": "/w",
        "Entrypoint": None,
    },
    "rootfs": {"type": "layers", "diff_ids": [_A]},
    "history": [{"created_by": "base"}, {"created_by": "ENV", "empty_layer": True}],
}


def _document(**changes: Any) -> bytes:
    return json.dumps({**_BASE, **changes}).encode()


def test_what_a_document_says() -> None:
    found = read(_document())
    assert (found.os, found.architecture, found.variant) == ("linux", "arm64", "v8")
    assert found.config == ImageConfig(env=("PATH=/bin",), cmd=("sh",), workdir="/w")
    assert found.diff_ids == (_A,)
    assert read(b'{"config":null,"history":null}').config == ImageConfig()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        _document(os=5),
        _document(config=[]),
        _document(config={"Env": "PATH"}),
        _document(config={"Cmd": [1]}),
        _document(rootfs={"diff_ids": ["../../etc/passwd"]}),
        _document(history=[5]),
    ],
)
def test_hostile_documents(content: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        read(content)
    assert caught.value.hint


def test_a_new_document_on_another() -> None:
    config = ImageConfig(env=("A=1",), entrypoint=("/e",))
    made = new(read(_document()), config, [Layer(_B, "run")], timestamp(0), notes=["CMD"])
    fields = json.loads(made)
    assert fields["config"] == {
        "Env": ["A=1"],
        "Entrypoint": ["/e"],
        "Labels": {"a": "b"},
        "Healthcheck": {"Test": ["NONE"]},
    }
    assert fields["created"] == "1970-01-01T00:00:00Z"
    assert (fields["unknown"], fields["variant"]) == ({"kept": True}, "v8")
    assert "docker_version" not in fields
    assert read(made).diff_ids == (_A, _B)
    assert [entry["created_by"] for entry in fields["history"]] == ["base", "ENV", "run", "CMD"]
    assert [entry.get("empty_layer") for entry in fields["history"]] == [None, True, None, True]
    again = new(read(_document()), config, [Layer(_B, "run")], timestamp(0), notes=["CMD"])
    assert again == made


def test_a_new_document_on_nothing() -> None:
    made = read(new(None, ImageConfig(user="u"), [], timestamp(1), architecture="s390x"))
    assert (made.architecture, made.config.user, made.diff_ids) == ("s390x", "u", ())


def test_manifests() -> None:
    one = Descriptor("application/x", _A, 3)
    fields = json.loads(manifest(one, [one]))
    assert fields["config"] == {"mediaType": "application/x", "digest": _A, "size": 3}
    assert fields["layers"] == [fields["config"]]
    assert fields["schemaVersion"] == 2
