"""Copies for tests: making them from a folder, and reading their streams."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from obuild.context import BuildContext, ContextFiles
from obuild.ir.ops import UnixUser, User

__all__ = ["LARGE", "ROOT", "copy", "unpack"]

ROOT = UnixUser(0, 0)
LARGE = 3 << 20


def unpack(stream: bytes) -> list[tarfile.TarInfo]:
    """The members of a stream; raises if it has anything but whole members."""
    file = io.BytesIO(stream + bytes(1024))
    with tarfile.open(fileobj=file, encoding="utf-8", errors="surrogateescape") as archive:
        members = archive.getmembers()
        end = archive.offset
    assert end == len(stream)
    return members


def copy(root: Path, sources: list[str], destination: str, user: User = ROOT) -> ContextFiles:
    context = BuildContext(str(root))
    manifests = tuple(context.manifest(s, ()) for s in sources)
    return context.files(manifests, destination, user)
