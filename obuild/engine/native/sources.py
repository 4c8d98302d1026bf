"""Snapshots as sources of copies: mounted where they are read, each time anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from obuild.context.files import ContextFiles
from obuild.context.placing import owner_of
from obuild.engine import Cancel
from obuild.engine.native.calls import Calls
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.manifests import packed, unpacked
from obuild.engine.native.records import Record
from obuild.errors import ContextError
from obuild.ir.manifest import Manifest
from obuild.ir.ops import User

__all__ = ["OpenSource", "open_source"]


@contextmanager
def open_source(
    record: Record, key: str, layout: Layout, layers: Layers, calls: Calls, cancel: Cancel
) -> Iterator[OpenSource]:
    """See ``obuild.engine.Engine.source``."""
    with layers.making(f"source-{key[:16]}") as work:
        wanted = {
            "layers": layout.layers,
            "stack": record.stack,
            "target": f"{work}/layer/fs",
        }
        yield OpenSource(wanted, calls, cancel)


class OpenSource:
    """A snapshot, open for reading."""

    def __init__(self, wanted: dict[str, Any], calls: Calls, cancel: Cancel):
        self._wanted = wanted
        self._calls = calls
        self._cancel = cancel

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:
        """See ``obuild.engine.Source``."""
        wanted = {**self._wanted, "sources": list(sources), "exclude": list(exclude)}
        found = self._calls.ask("manifest", wanted, self._cancel)
        return tuple(unpacked(rows) for rows in found["manifests"])

    def files(self, manifests: Sequence[Manifest], destination: str, user: User) -> _SourceFiles:
        """See ``obuild.engine.Source``."""
        return _SourceFiles(self, tuple(manifests), destination, owner_of(user))

    def stream(
        self, manifests: Sequence[Manifest], destination: str, owner: tuple[int, int], root: bytes
    ) -> Iterator[bytes]:
        """The tar stream of the files. Raises ``SourceError``."""
        wanted = {
            **self._wanted,
            "manifests": [packed(each) for each in manifests],
            "destination": destination,
            "owner": list(owner),
            "root": root.hex(),
        }
        with self._calls.call("files", wanted, self._cancel, receive=True) as call:
            yield from call.output()
            call.answer()


class _SourceFiles:
    """What a copy puts into a guest; see ``obuild.engine.Measured``."""

    directory: bool

    def __init__(
        self,
        source: OpenSource,
        manifests: tuple[Manifest, ...],
        destination: str,
        owner: tuple[int, int],
    ):
        self._known = ContextFiles(_closed, manifests, destination, owner)
        self.directory = self._known.directory
        self._open = source
        self._made = manifests, destination, owner

    def names(self, root: bytes) -> Iterator[bytes]:
        return self._known.names(root)

    def length(self, root: bytes) -> int:
        return self._known.length(root)

    def tar(self, root: bytes) -> Iterator[bytes]:
        return self._open.stream(*self._made, root)


def _closed() -> Any:
    """The files are read where the snapshot is mounted, not here."""
    raise ContextError("the files of a snapshot are not in the build context")
