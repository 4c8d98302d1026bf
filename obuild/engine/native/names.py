"""Images by their names: those of the store, and those that registries have."""

from __future__ import annotations

import json
import os
import platform as host
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from obuild.engine import ResolvedImage
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import LAYER_DIGITS, Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.records import Layer, Record, read_all, read_record
from obuild.errors import ImageError
from obuild.events import Emit
from obuild.images.blobs import Blobs
from obuild.images.content import Image, hex_of
from obuild.images.credentials import Credentials
from obuild.images.reference import Reference, parse
from obuild.images.registries import Registries
from obuild.values import replace

__all__ = ["Names", "default_platform"]

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
}
_DOCUMENT = 8 << 20


def default_platform() -> str:
    """The platform of this host's guests, as images call it."""
    machine = host.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


class Names:
    """Finds, fetches and makes images. ``registries`` and ``credentials``: see ``fetch``."""

    def __init__(
        self,
        layout: Layout,
        layers: Layers,
        calls: Calls,
        registries: Registries | None = None,
        credentials: Credentials | None = None,
    ):
        self._layout = layout
        self._layers = layers
        self._calls = calls
        self._registries = registries or Registries()
        self._credentials = credentials or Credentials()

    def resolve(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> Record:
        """See ``Engine.resolve``."""
        named = parse(reference)
        wanted = platform or default_platform()
        found = None if pull else read_record(self._path(named))
        if found is None or not _fits(found, wanted):
            found = self._pull(named, reference, wanted, emit, step)
        if not _fits(found, wanted):
            have = f"{found.document.get('os')}/{found.document.get('architecture')}"
            raise ImageError(
                f"the image {reference} is for {have}, not for {wanted}",
                hint="ask for a platform that the image has",
            )
        return found

    def record(self, image: ResolvedImage) -> Record:
        """The record of an image that ``resolve`` gave. Raises ``ImageError``."""
        for _, record in read_all(self._layout.images):
            if record.id == image.id:
                return record
        raise ImageError(
            f"the image {image.reference} is gone, or another one by now",
            hint="run the build again",
        )

    def publish(self, record: Record, name: str) -> None:
        """Give it a name; whatever had the name loses it."""
        named = parse(name)
        with self._layers.making("names") as work:
            self._layers.record(self._path(named), replace(record, reference=name), work)

    def add_tree(self, name: str, archive: IO[bytes], document: Mapping[str, Any]) -> Record:
        """An image of one layer: the files of a tar archive, under a configuration document.

        Raises ``ImageError`` for a hostile or broken archive; then nothing is changed.
        """
        with self._layers.making("import") as work:
            folder = f"{work}/layer/fs"
            wanted = {"folder": folder, "layer": False}
            with self._calls.call("unpack", wanted, source=archive.fileno()) as call:
                done = call.answer()
            kept = self._layers.keep(work, done["digest"][:LAYER_DIGITS])
            layer = Layer(kept, done["digest"], done["size"])
            whole = {
                **document,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{done['digest']}"]},
            }
            record = Record((layer,), (kept,), whole, name)
            self.publish(record, name)
        return record

    def _pull(
        self, named: Reference, reference: str, platform: str, emit: Emit, step: int
    ) -> Record:
        from obuild.images.pull import fetch

        blobs = Blobs(Path(self._layout.blobs))
        image = fetch(
            named, platform, blobs, self._registries, self._credentials, emit=emit, step=step
        )
        document = json.loads(blobs.read(image.config.digest, _DOCUMENT))
        with self._layers.making("names") as work:  # no layer is removed before it is recorded
            layers = self._unpacked(image, _diff_ids(document, reference), blobs)
            stack = tuple(layer.name for layer in layers)
            record = Record(tuple(layers), stack, document, reference, image.digest)
            self._layers.record(self._path(named), record, work)
        return record

    def _unpacked(self, image: Image, diff_ids: Sequence[str], blobs: Blobs) -> list[Layer]:
        if len(diff_ids) != len(image.layers):
            raise ImageError("the image's manifest and its configuration tell of other layers")
        sizes = {
            layer.name: layer.size
            for _, record in read_all(self._layout.images)
            for layer in record.layers
        }
        made = []
        for descriptor, diff_id in zip(image.layers, diff_ids, strict=True):
            name = diff_id[:LAYER_DIGITS]
            if name not in sizes or not os.path.isdir(self._layout.layer(name)):
                with self._layers.making("unpack") as work, blobs.open(descriptor.digest) as blob:
                    wanted = {"folder": f"{work}/layer/fs", "layer": True}
                    with self._calls.call("unpack", wanted, source=blob.fileno()) as call:
                        done = call.answer()
                    if done["digest"] != diff_id:
                        raise ImageError(
                            f"a layer of the image is not what its configuration says:"
                            f" sha256:{done['digest']}, not sha256:{diff_id}"
                        )
                    self._layers.keep(work, name)
                    sizes[name] = done["size"]
            made.append(Layer(name, diff_id, sizes[name]))
        return made

    def _path(self, named: Reference) -> str:
        return f"{self._layout.images}/{quote(named.full, safe='')}"


def _fits(record: Record, wanted: str) -> bool:
    from obuild.images.choice import fits

    document = record.document
    return fits(f"{document.get('os')}/{document.get('architecture')}", wanted)


def _diff_ids(document: Mapping[str, Any], reference: str) -> list[str]:
    found = (document.get("rootfs") or {}).get("diff_ids")
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ImageError(f"the configuration of the image {reference} does not tell its layers")
    return [hex_of(each) for each in found]
