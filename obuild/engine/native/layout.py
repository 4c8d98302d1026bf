"""Where the native engine keeps what, below the folder of its store.

::

    native/layers/ID/fs      a layer: the files of one step, or of one layer of an image
    native/layers/empty      what a stack without layers is mounted of
    native/snapshots/KEY     a snapshot: its layers and its configuration, as JSON
    native/images/NAME       an image that the user named, likewise
    native/caches/NAME/     a cache of runs (see ``shelf``)
    native/blobs/            documents and layers of images as registries have them
    native/work/KEY.TOKEN/   what is in the making; the lock KEY tells whether somebody is at it
    native/mark              whose store it is

A layer is complete when it stands among the layers, a snapshot when its file is there: both
are put there by renaming, the layer first. What is in ``work`` is removed last. So a layer that
no snapshot names, and whose ``work`` is gone, is nobody's.
"""

from __future__ import annotations

import os

from obuild.errors import StoreError

__all__ = ["Layout"]

_PRIVATE = 0o700


class Layout:
    """The paths. ``root`` is the folder of the store."""

    def __init__(self, root: str):
        top = os.path.join(os.path.abspath(root), "native")
        self.top = top
        self.layers = f"{top}/layers"
        self.snapshots = f"{top}/snapshots"
        self.images = f"{top}/images"
        self.caches = f"{top}/caches"
        self.blobs = f"{top}/blobs"
        self.work = f"{top}/work"
        self.mark = f"{top}/mark"
        self.runtime = f"{top}/runtime"

    def make(self) -> None:
        """Make the folders. Raises ``StoreError``."""
        try:
            for path in (
                self.top,
                self.layers,
                f"{self.layers}/empty",
                self.snapshots,
                self.images,
                self.caches,
                self.blobs,
                self.work,
            ):
                os.makedirs(path, _PRIVATE, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{error.filename}: {error.strerror}",
                hint="name a folder of yours: --store overlayfs:PATH",
            ) from error

    def layer(self, name: str) -> str:
        return f"{self.layers}/{name}"

    def snapshot(self, key: str) -> str:
        return f"{self.snapshots}/{key}"
