"""What the native engine knows of a snapshot or an image: a file of JSON for each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from obuild.engine import ResolvedImage
from obuild.engine.configs import image_config
from obuild.errors import EngineError
from obuild.values import Value

__all__ = ["Layer", "Record", "read_all", "read_record", "write_record"]

_VERSION = 1


class Layer(Value):
    """A layer of a snapshot: its name among the layers, the sha256 (hex) of its archive where
    it came as one, its size on disk in bytes, and what made it, for the image's history."""

    name: str
    digest: str | None
    size: int
    created_by: str = ""


class Record(Value):
    """``layers``: all of the image's, the lowest first. ``stack``: what is mounted for them,
    where some are joined. ``document``: the image's configuration document (OCI image spec).
    """

    layers: tuple[Layer, ...]
    stack: tuple[str, ...]
    document: Mapping[str, Any]
    reference: str
    digest: str | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The part of the document that containers start with."""
        found: Mapping[str, Any] = self.document.get("config") or {}
        return found

    @property
    def id(self) -> str:
        """The engine's name for exactly this: another build of the same step has another."""
        names = [layer.name for layer in self.layers]
        text = json.dumps([names, self.document], sort_keys=True)
        return f"sha256:{sha256(text.encode()).hexdigest()}"

    def resolved(self) -> ResolvedImage:
        return ResolvedImage(
            self.reference,
            self.id,
            self.digest,
            str(self.document.get("os") or "linux"),
            str(self.document.get("architecture") or ""),
            image_config(self.config),
        )


def read_record(path: str) -> Record | None:
    """None if there is none. Raises ``EngineError`` for a file that is not obuild's."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found["version"] != _VERSION:
            raise ValueError("another version")
        layers = tuple(Layer(*each) for each in found["layers"])
        return Record(
            layers, tuple(found["stack"]), found["document"], found["reference"], found["digest"]
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path} is damaged: {error}", hint="remove it; its step will be built again"
        ) from error


def write_record(path: str, record: Record, work: str) -> None:
    """Put it there whole, by way of the folder ``work``."""
    value = {
        "version": _VERSION,
        "layers": [[each.name, each.digest, each.size, each.created_by] for each in record.layers],
        "stack": record.stack,
        "document": record.document,
        "reference": record.reference,
        "digest": record.digest,
    }
    half = f"{work}/record"
    with open(half, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        # A record may never be on the disk without its layers: all of the file system first.
        # The overlays of steps flush nothing by themselves.
        _sync(file.fileno())
        os.fsync(file.fileno())
    os.replace(half, path)


def _sync(descriptor: int) -> None:
    """Have everything written that is of the same file system. Raises ``OSError``."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def read_all(folder: str) -> Iterator[tuple[str, Record]]:
    """Every record in a folder with its name. One that goes meanwhile is left out."""
    for name in sorted(os.listdir(folder)):
        record = read_record(f"{folder}/{name}")
        if record is not None:
            yield name, record
