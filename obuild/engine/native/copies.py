"""Performing a copy: a tar stream becomes a layer."""

from __future__ import annotations

import os
from collections.abc import Iterator

from obuild.engine import Cancel, PutFiles
from obuild.engine.destination import Destination
from obuild.engine.incoming import Incoming
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.records import Layer, Record
from obuild.values import replace

__all__ = ["Puts"]

_CLOSING = bytes(1024)


class Puts:
    """Puts files into snapshots."""

    def __init__(self, layout: Layout, layers: Layers, calls: Calls):
        self._layout = layout
        self._layers = layers
        self._calls = calls

    def put(self, key: str, parent: Record, action: PutFiles, work: str, cancel: Cancel) -> Record:
        """The record of the result, which is not written yet; its layer, made in ``work``, is
        kept."""
        below = self._layers.below(parent, key)
        os.mkdir(f"{work}/root")
        wanted = {
            "layers": self._layout.layers,
            "stack": below.stack,
            "work": work,
            "root": f"{work}/root",
            "destination": action.destination,
            "directory": action.files.directory,
        }
        with self._calls.call("put", wanted, cancel, feed=True) as call:
            told = call.line()
            path = tuple(bytes.fromhex(name) for name in told["path"])
            destination = Destination(path, told["existing"], told["blocked"])
            incoming = Incoming(destination, action, cancel)
            call.feed(_closed(incoming))
            size = call.answer()["size"]
        name = self._layers.keep(work)
        layer = Layer(name, None, size, "obuild copy")
        return replace(below, layers=(*below.layers, layer), stack=(*below.stack, name))


def _closed(incoming: Incoming) -> Iterator[bytes]:
    yield from incoming.rest()
    yield _CLOSING
