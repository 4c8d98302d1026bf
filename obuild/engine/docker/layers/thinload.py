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

from obuild.engine.configs import Config
from obuild.engine.docker.config import MARK, bears_mark
from obuild.engine.docker.daemon import Daemon, ImageFacts
from obuild.engine.docker.layers.archives import Layer, docker_archive, layer_descriptor, oci_layout
from obuild.engine.docker.layers.blobs import Blobs

__all__ = ["ThinLoads"]


class ThinLoads:
    """Loads images of known layers. ``containerd()`` tells which image store the daemon has."""

    def __init__(self, daemon: Daemon, containerd: Callable[[], bool]):
        self._daemon = daemon
        self._containerd = containerd
        self._blobs = Blobs(daemon)

    def load(
        self,
        name: str,
        source: str,
        facts: ImageFacts,
        config: Config,
        layer: Layer | None = None,
        *,
        lowest: int | None = None,
    ) -> None:
        """An image ``name`` with the layers of the image ``source``, and ``layer`` on them.

        ``facts`` are those of ``source``; of its layers only the ``lowest`` are taken, if that
        is given. Raises ``DaemonError`` if the daemon refuses, and what the stream of the
        layer raises; then nothing is kept.
        """
        kept = facts.layers[:lowest]
        rows = _rows(self._daemon.history(source), len(facts.layers))
        history = _history(rows, layer, lowest)
        made: list[str] = []

        def document(digest: str | None) -> bytes:
            made.extend([digest] if digest else [])
            new = [f"sha256:{digest}"] if digest else []
            return _document(facts, config, [*kept, *new], history)

        what = f"load {name}: the layers of {source}"
        what += f", one new layer of {layer.size} bytes" if layer else " with another configuration"
        if not self._containerd():
            self._daemon.load(lambda: docker_archive(name, document, kept, layer), what)
            return
        blobs = self._blobs.of(source, facts)[:lowest]
        self._daemon.load(lambda: oci_layout(name, document, blobs, layer), what)
        if layer is not None:
            new = [layer_descriptor(made[0], layer.size)]
            self._blobs.learn([f"sha256:{made[0]}"], new)


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


def _rows(rows: Sequence[Mapping[str, Any]], layers: int) -> list[dict[str, Any]]:
    """The history of an image of so many layers as the daemon tells it. It doesn't tell which
    entries have no layer: a size of 0 leaves it open, so as many of these are taken for real,
    the latest first, as there must be."""
    missing = layers - sum(1 for row in rows if row.get("Size"))
    entries: list[dict[str, Any]] = []
    for row in rows:
        real = bool(row.get("Size"))
        if not real and missing > 0:
            real, missing = True, missing - 1
        entries.insert(0, _entry(row, real=real))
    if missing:
        return [{"created": _now(), "created_by": "obuild"} for _ in range(layers)]
    return entries


def _history(
    entries: list[dict[str, Any]], layer: Layer | None, lowest: int | None
) -> list[dict[str, Any]]:
    """The history of the older layers, and an entry that bears the mark. Those of which the
    layer is not taken stay, without one."""
    if lowest is not None:
        real = [entry for entry in entries if not entry.get("empty_layer")]
        for entry in real[lowest:]:
            entry["empty_layer"] = True
    if layer is not None:
        entries.append({"created": _now(), "created_by": layer.created_by, "comment": MARK})
    elif not entries or not bears_mark(entries[-1].get("comment") or ""):
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
