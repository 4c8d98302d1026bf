"""Joining the upper layers of an image, before it has more than Docker takes.

An image has at most 125 layers in Docker's classic store ("max depth exceeded"; tried on
20.10 and 28.5; containerd's store took 200, but such an image could not go anywhere else). A
step on an image that has as many as there may be below a new one stands on a copy of it: the
same files, owners, times and attributes, the lowest layers the same, those above joined to one.

The daemon is asked for the layers by ``docker save``, once to see what they hold and once for
what remains (and once more where hard links need mending); the client keeps names only, and
no container is made. An export of one would not do: it has /etc/hosts and others emptied,
times cut to seconds, and no attributes but capabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any

from obuild.engine.docker.layers.archives import Layer
from obuild.engine.docker.layers.joining import Index, Joined, join
from obuild.engine.streams import Stream
from obuild.errors import EngineError

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

__all__ = ["Save", "joined_layer"]

Save = Callable[[], AbstractContextManager[Iterator[bytes]]]
"""Opens a stream of ``docker save`` of the image, the same at each call."""

_CHUNK = 1 << 20
_END = bytes(1024)
_GZIP = b"\x1f\x8b"
_BLOCK = 512


def joined_layer(save: Save, layers: int, kept: int) -> Layer:
    """One layer that has the effect of those from ``kept`` on; of ``layers`` in all.

    Raises ``EngineError`` for layers that cannot be read.
    """
    with save() as chunks:
        order, indexes = _read(chunks, layers)
    lower = [indexes[name] for name in order[:kept]]
    upper = [indexes[name] for name in order[kept:]]
    names = order[kept:]
    chosen = join(lower, upper)
    return Layer(
        None,
        _size(save, names, upper, chosen),
        lambda: _joined(save, names, chosen),
        f"obuild: {len(names)} layers joined",
    )


def _size(save: Save, names: Sequence[str], upper: Sequence[Index], chosen: Joined) -> int:
    if chosen.renamed or chosen.relinked:
        return sum(len(piece) for piece in _joined(save, names, chosen))
    return sum(
        (upper[position][number].size for position, kept in chosen.kept.items() for number in kept),
        sum(len(piece) for piece in _ending(chosen)),
    )


def _read(chunks: Iterator[bytes], layers: int) -> tuple[list[str], dict[str, Index]]:
    """The members' names of the image's layers, lowest first, and what each layer holds."""
    import json

    from obuild.engine.docker.layers.members import read_members

    indexes: dict[str, Index] = {}
    links: dict[str, str] = {}
    manifest: Any = None
    for archive, member in _files(chunks):
        if member.issym():
            links[member.name] = member.linkname
        elif member.name == "manifest.json":
            content = archive.extractfile(member)
            manifest = json.load(content) if content else None
        elif (content := _opened(archive, member)) is not None:
            indexes[member.name] = tuple(one.entry for one in read_members(content.read))
    for images in manifest if isinstance(manifest, list) else ():
        order = [_followed(name, links) for name in images.get("Layers") or ()]
        if len(order) == layers and all(name in indexes for name in order):
            return order, indexes
    raise EngineError(
        "the layers of the image cannot be read: docker save has not all of them",
        hint="layers in zstd cannot be read; `docker save IMAGE | tar -t` shows what is there",
    )


def _joined(save: Save, upper: Sequence[str], chosen: Joined) -> Iterator[bytes]:
    """The new layer. The order of the layers in the stream does not matter: what remains of
    them has no name in common, and folders are put right when their entry comes."""
    from obuild.engine.docker.layers.members import read_members

    # Of equal layers the highest one is what remains.
    positions = {name: position for position, name in enumerate(upper)}
    with save() as chunks:
        for archive, member in _files(chunks):
            position = positions.get(member.name)
            content = _opened(archive, member) if position is not None else None
            if position is None or content is None:
                continue
            kept = chosen.kept.get(position, frozenset())
            for number, one in enumerate(read_members(content.read)):
                place = position, number
                if (name := chosen.renamed.get(place)) is not None:
                    yield one.head_as(name)
                    yield from one.content()
                elif number not in kept:
                    continue
                elif (target := chosen.relinked.get(place)) is not None:
                    yield one.head_linking(target)
                else:
                    yield one.head
                    yield from one.content()
    yield from _ending(chosen)


def _ending(chosen: Joined) -> Iterator[bytes]:
    from obuild.context.headers import REGULAR, header
    from obuild.ir.manifest import Attributes
    from obuild.source import encode

    for path in chosen.marks:
        yield header(encode(path), REGULAR, Attributes(0, 0, 0))
    yield _END


def _files(chunks: Iterator[bytes]) -> Iterator[tuple[TarFile, TarInfo]]:
    import tarfile

    try:
        with tarfile.open(fileobj=Stream(chunks), mode="r|", bufsize=_CHUNK) as archive:
            for member in archive:
                yield archive, member
    except tarfile.TarError as error:
        raise EngineError(f"docker save gave no archive: {error}") from error


def _opened(archive: TarFile, member: TarInfo) -> IO[bytes] | None:
    """The member as an uncompressed tar, None for what is no layer (or one in zstd)."""
    import gzip
    import io

    content = archive.extractfile(member) if member.isreg() else None
    if content is None or not isinstance(content, io.BufferedReader):
        return None
    start = content.peek(_BLOCK)[:_BLOCK]
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=content, mode="rb")  # type: ignore[return-value]
    if start[257:262] == b"ustar" or (member.size >= len(_END) and not start.strip(b"\0")):
        return content
    return None


def _followed(name: str, links: dict[str, str]) -> str:
    """20.10 names equal layers once and has links for the others."""
    import posixpath

    target = links.get(name)
    return name if target is None else posixpath.normpath(f"{posixpath.dirname(name)}/{target}")
