"""What containerd's image store calls the layers of an image: digests of compressed blobs.

The Engine API never says it; the image's manifest does, which is a blob of the store as
well. ``docker save`` of the image has it somewhere among all the layers. So a thin image is
loaded whose *configuration* is that blob, and saved: an archive of two small blobs, in
36 ms where Debian takes 900. If a daemon refuses that, the whole image is saved after all.
What is learnt of a layer stays known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from threading import Lock
from typing import Any

from obuild.engine.docker import command
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon, ImageFacts
from obuild.engine.docker.layers.archives import Descriptor, oci_layout
from obuild.engine.streams import Stream
from obuild.errors import EngineError

__all__ = ["Blobs"]

_SMALL = 1 << 22
_CHUNK = 1 << 20


class Blobs:
    """Descriptors of layers, by the digest of the uncompressed layer."""

    def __init__(self, daemon: Daemon):
        self._daemon = daemon
        self._lock = Lock()
        self._fetching = Lock()
        self._known: dict[str, Descriptor] = {}

    def of(self, name: str, facts: ImageFacts) -> list[Descriptor]:
        """The descriptors of the image's layers, lowest first. Raises ``EngineError``."""
        with self._lock:
            known = [self._known.get(layer) for layer in facts.layers]
        found = [descriptor for descriptor in known if descriptor is not None]
        if len(found) == len(facts.layers):
            return found
        with self._fetching:
            layers = self._by_manifest(facts) or self._by_save(name, facts)
        self.learn(facts.layers, layers)
        return layers

    def learn(self, layers: Sequence[str], descriptors: Sequence[Descriptor]) -> None:
        with self._lock:
            self._known.update(zip(layers, descriptors, strict=True))

    def _by_manifest(self, facts: ImageFacts) -> list[Descriptor] | None:
        """By the image's descriptor; None if the daemon does not go along."""
        documents: dict[str, Any] = {}
        wanted = facts.descriptor
        try:
            while wanted is not None and wanted["digest"] not in documents:
                documents[wanted["digest"]] = self._fetch(wanted, facts)
                layers = _layers(documents, facts.id, facts)
                if layers is not None:
                    return layers
                wanted = next(_below(documents[wanted["digest"]], facts), None)
        except DaemonError:
            self._daemon.say(lambda: command.note("a manifest is not taken for an image"))
        return None

    def _fetch(self, blob: Descriptor, facts: ImageFacts) -> Any:
        """The JSON document in a blob of the store."""
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob["digest"],
            "size": blob["size"],
        }
        name = self._daemon.names.temporary(sha256(blob["digest"].encode()).hexdigest())
        platform = {"os": facts.os, "architecture": facts.architecture}
        what = f"load {name}: to read {blob['digest']}"
        with self._daemon.temporary_image(name):
            self._daemon.load(lambda: oci_layout(name, config, [], platform=platform), what)
            with self._daemon.save(name) as chunks:
                for digest, document in _small_blobs(chunks):
                    if digest == blob["digest"]:
                        return document
        return None

    def _by_save(self, name: str, facts: ImageFacts) -> list[Descriptor]:
        documents: dict[str, Any] = {}
        with self._daemon.save(name) as chunks:
            for digest, content in _small_blobs(chunks):
                documents[digest] = content
                layers = _layers(documents, facts.id, facts)
                if layers is not None:
                    return layers
        # Another process may have given the image a new configuration since it was looked
        # at: any manifest of just these layers will do.
        for document in documents.values():
            config = documents.get(_digest_of_config(document))
            if config and config.get("rootfs", {}).get("diff_ids") == list(facts.layers):
                return list(document["layers"])
        raise EngineError(
            f"docker save {name} has no manifest of its layers",
            hint="see whether `docker image inspect` knows the image",
        )


def _layers(
    documents: Mapping[str, Any], digest: str, facts: ImageFacts
) -> list[Descriptor] | None:
    """The layers that the document of that digest leads to, if all of it has come by."""
    document = documents.get(digest)
    if not isinstance(document, dict):
        return None
    if "manifests" not in document:
        layers = document.get("layers")
        return layers if layers is not None and len(layers) == len(facts.layers) else None
    for entry in _below(document, facts):
        if (found := _layers(documents, entry["digest"], facts)) is not None:
            return found
    return None


def _digest_of_config(document: Any) -> str:
    """What a manifest names as its configuration; empty for what is no manifest."""
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        return ""
    return str(document["config"].get("digest", ""))


def _below(document: Any, facts: ImageFacts) -> Iterator[Descriptor]:
    """The manifests of an index that are for the image's platform."""
    for entry in document.get("manifests", ()) if isinstance(document, dict) else ():
        platform = entry.get("platform") or {}
        if (
            platform.get("architecture", facts.architecture) == facts.architecture
            and platform.get("os", facts.os) == facts.os
            and platform.get("variant", facts.variant) == facts.variant
        ):
            yield entry


def _small_blobs(chunks: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    """Digest and value of each JSON document among the blobs of an image's archive."""
    import tarfile

    with tarfile.open(fileobj=Stream(chunks), mode="r|", bufsize=_CHUNK) as archive:
        for member in archive:
            if not member.name.startswith("blobs/sha256/") or member.size > _SMALL:
                continue
            content = archive.extractfile(member)
            try:
                value = json.load(content) if content else None
            except ValueError:
                continue  # a small layer
            yield f"sha256:{member.name.rpartition('/')[2]}", value
