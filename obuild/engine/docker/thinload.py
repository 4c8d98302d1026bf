"""Images put together from layers that the daemon has: ``docker load`` of next to nothing.

The archive holds a configuration and at most one new layer. The older layers are named, but
absent: the daemon looks for a layer in its store before it opens the file. So an image gets
exactly the configuration, owners and modes that are wanted, and no container is started.

Two forms (tried on 20.10 and 28.5): the classic store takes a docker archive, containerd's
image store an OCI layout whose manifest names blobs that the store has; what the blobs of a
layer are called there is learnt by ``Blobs``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from obuild.engine.docker.archives import Layer, docker_archive, layer_descriptor, oci_layout
from obuild.engine.docker.blobs import Blobs
from obuild.engine.docker.config import MARK, Config
from obuild.engine.docker.daemon import Daemon, ImageFacts

__all__ = ["ThinLoads"]


class ThinLoads:
    """Loads images of known layers. ``containerd()`` tells which image store the daemon has."""

    def __init__(self, daemon: Daemon, containerd: Callable[[], bool]):
        self._daemon = daemon
        self._containerd = containerd
        self._blobs = Blobs(daemon)

    def load(
        self, name: str, source: str, facts: ImageFacts, config: Config, layer: Layer | None = None
    ) -> None:
        """An image ``name`` with the layers of the image ``source``, and ``layer`` on them.

        ``facts`` are those of ``source``. Raises ``DaemonError`` if the daemon refuses.
        """
        layers = [*facts.layers, *([f"sha256:{layer.digest}"] if layer else [])]
        history = _history(self._daemon.history(source), len(facts.layers), layer)
        document = _document(facts, config, layers, history)
        what = f"load {name}: the layers of {source}"
        what += f", one new layer of {layer.size} bytes" if layer else " with another configuration"
        if not self._containerd():
            self._daemon.load(lambda: docker_archive(name, document, layers, layer), what)
            return
        blobs = self._blobs.of(source, facts)
        self._daemon.load(lambda: oci_layout(name, document, blobs, layer), what)
        if layer is not None:
            self._blobs.learn(layers[-1:], [layer_descriptor(layer)])


def _document(
    facts: ImageFacts, config: Config, layers: Sequence[str], history: list[dict[str, Any]]
) -> bytes:
    """The image's configuration file (OCI image spec, "Image Configuration")."""
    document: dict[str, Any] = {
        "architecture": facts.architecture,
        "os": facts.os,
        "created": _now(),
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": history,
    }
    if facts.variant:
        document["variant"] = facts.variant
    if facts.os_version:
        document["os.version"] = facts.os_version
    return json.dumps(document).encode()


def _history(
    rows: Sequence[Mapping[str, Any]], layers: int, layer: Layer | None
) -> list[dict[str, Any]]:
    """The history of the older layers as the daemon tells it, and an entry that bears the
    mark. The daemon doesn't tell which entries have no layer: a size of 0 leaves it open, so
    as many of these are taken for real, the latest first, as there must be."""
    missing = layers - sum(1 for row in rows if row.get("Size"))
    entries: list[dict[str, Any]] = []
    for row in rows:
        real = bool(row.get("Size"))
        if not real and missing > 0:
            real, missing = True, missing - 1
        entries.insert(0, _entry(row, real=real))
    if missing:
        entries = [{"created": _now(), "created_by": "obuild"} for _ in range(layers)]
    if layer is not None:
        entries.append({"created": _now(), "created_by": layer.created_by, "comment": MARK})
    elif not entries or entries[-1].get("comment") != MARK:
        entries.append({"created": _now(), "created_by": "obuild", "comment": MARK})
        entries[-1]["empty_layer"] = True
    return entries


def _entry(row: Mapping[str, Any], *, real: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"created": _time(row.get("Created") or 0)}
    entry["created_by"] = row.get("CreatedBy") or ""
    if row.get("Comment"):
        entry["comment"] = row["Comment"]
    if not real:
        entry["empty_layer"] = True
    return entry


def _now() -> str:
    return _time(time.time())


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0, seconds)))
