"""Image configurations and manifests as JSON documents (OCI image specification, "Image
Configuration" and "Image Manifest"; Docker's documents have the same fields and more).

What a document has besides what is known here is kept as it came.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from obuild.errors import ImageError
from obuild.images.content import Descriptor, hex_of
from obuild.ir.image import ImageConfig
from obuild.values import Value, field

__all__ = ["Document", "Layer", "manifest", "new", "read", "timestamp"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LISTS = {"Env": "env", "Entrypoint": "entrypoint", "Cmd": "cmd", "Shell": "shell"}
_TEXTS = {"WorkingDir": "workdir", "User": "user"}
_HINT = "the image is damaged, or was made by a broken tool"


class Document(Value):
    """An image's configuration. ``diff_ids`` are of the layers, lowest first; ``fields`` is
    the whole document, which nobody may change."""

    os: str
    architecture: str
    variant: str
    config: ImageConfig
    diff_ids: tuple[str, ...]
    fields: Mapping[str, Any] = field(repr=False)

    def __hash__(self) -> int:
        return hash((self.os, self.architecture, self.config, self.diff_ids))


class Layer(Value):
    """A layer that is added: its uncompressed digest and what made it."""

    diff_id: str
    created_by: str


def read(content: bytes) -> Document:
    """Raises ``ImageError`` for what is no image configuration."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"an image's configuration is no JSON: {error}", hint=_HINT) from error
    if not isinstance(fields, dict):
        raise _wrong("the document", "an object")
    rootfs = _object(fields, "rootfs")
    diff_ids = _texts(rootfs, "diff_ids")
    for digest in diff_ids:
        hex_of(digest)
    history = fields.get("history") or []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise _wrong("history", "a list of objects")
    config = _object(fields, "config")
    values: dict[str, Any] = {name: _texts(config, key) for key, name in _LISTS.items()}
    for key, name in _TEXTS.items():
        values[name] = _text(config, key)
    return Document(
        _text(fields, "os") or "linux",
        _text(fields, "architecture"),
        _text(fields, "variant"),
        ImageConfig(**values),
        diff_ids,
        fields,
    )


def new(
    base: Document | None,
    config: ImageConfig,
    layers: Sequence[Layer],
    created: str,
    *,
    os: str = "linux",
    architecture: str = "amd64",
    notes: Sequence[str] = (),
) -> bytes:
    """The document of an image on ``base``: its fields with ``config`` in place of what it had
    of that, the ``layers`` on its own, and ``notes``, lines of history without a layer, after
    them. ``created`` as ``timestamp`` writes it; ``os`` and ``architecture`` are for an image
    without a base. The same arguments give the same bytes.
    """
    fields: dict[str, Any] = {"os": os, "architecture": architecture}
    if base is not None:
        fields = dict(base.fields)
    for key in ("container", "container_config", "id", "parent", "docker_version"):
        fields.pop(key, None)  # Docker's, about the container that the base was made of
    inner = dict(fields.get("config") or {})
    values: dict[str, Any] = {key: list(getattr(config, name)) for key, name in _LISTS.items()}
    for key, name in _TEXTS.items():
        values[key] = getattr(config, name)
    for key, value in values.items():
        inner.pop(key, None)
        if value:
            inner[key] = value
    diff_ids = [*(base.diff_ids if base else ()), *(layer.diff_id for layer in layers)]
    history = [*(fields.get("history") or []), *(_entry(created, x.created_by) for x in layers)]
    history += [{**_entry(created, note), "empty_layer": True} for note in notes]
    fields.update(
        created=created,
        config=inner,
        rootfs={"type": "layers", "diff_ids": diff_ids},
        history=history,
    )
    return _bytes(fields)


def manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """The manifest of an image; the same bytes for the same content."""
    return _bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(config),
            "layers": [_described(layer) for layer in layers],
        }
    )


def timestamp(seconds: int) -> str:
    """A time since 1970 as documents have it (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _described(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }


def _bytes(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _entry(created: str, created_by: str) -> dict[str, Any]:
    return {"created": created, "created_by": created_by}


def _object(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, "an object")
    return value


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(key, "a text")
    return value


def _texts(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _wrong(key, "a list of texts")
    return tuple(value)


def _wrong(what: str, wanted: str) -> ImageError:
    return ImageError(f"in an image's configuration {what} is not {wanted}", hint=_HINT)
