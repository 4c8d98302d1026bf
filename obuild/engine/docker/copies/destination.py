"""Where in a guest a copy really goes: links on the way followed within the guest's root.

A container that is created and never started tells it. The daemon says of each path what it
is and, of a link, where it leads in the end (``HEAD /containers/{id}/archive``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from obuild.engine.docker.connection import DaemonError, request
from obuild.engine.docker.daemon import Daemon
from obuild.errors import BuildError
from obuild.source import decode, encode, readable
from obuild.values import Value

if TYPE_CHECKING:
    from tarfile import TarInfo

__all__ = ["Destination", "Guest", "find_destination"]

_MAX_LINKS = 40
# Go's file mode bits, which the daemon answers with (Go documentation, package io/fs).
_GO_DIRECTORY = 1 << 31
_GO_LINK = 1 << 27
_GO_TYPE = _GO_DIRECTORY | _GO_LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


class _Entry(Value):
    directory: bool
    link: bool
    target: str
    regular: bool


class Guest:
    """The files of a container, looked at one by one. Paths are tuples of names as bytes."""

    def __init__(self, daemon: Daemon, container: str):
        self._daemon = daemon
        self._path = f"/containers/{container}/archive"

    def look(self, path: tuple[bytes, ...]) -> _Entry | None:
        """What stands at ``path``, not following a link there; None if nothing does."""
        with self._daemon.connection.client() as api:
            try:
                response = request(api, "HEAD", self._path, _query(path))
            except DaemonError as error:
                if error.status == 404:
                    return None
                raise BuildError(
                    f"{show(path)} cannot be looked at in the image: {self._words(path)}",
                    hint="a link there may lead in a circle, or a file may stand for a folder",
                ) from error
        found = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
        mode = int(found["mode"])
        link = bool(mode & _GO_LINK)
        target = found.get("linkTarget") or ""
        return _Entry(bool(mode & _GO_DIRECTORY), link, target, not mode & _GO_TYPE)

    def header(self, path: tuple[bytes, ...]) -> TarInfo:
        """All that a tar header tells of ``path``; of a folder's content nothing is read."""
        import io
        import tarfile

        with self._daemon.connection.client() as api:
            response = request(api, "GET", self._path, _query(path), stream=True)
            with response:
                start = b""
                for chunk in response.iter_content(tarfile.BLOCKSIZE):
                    start += chunk
                    try:
                        with tarfile.open(fileobj=io.BytesIO(start), mode="r:") as archive:
                            if (member := archive.next()) is not None:
                                return member
                    except tarfile.ReadError:
                        continue  # an extended header: more is to come
        raise BuildError(f"the image does not give {show(path)}")

    def _words(self, path: tuple[bytes, ...]) -> str:
        """The daemon's reason; an answer to HEAD has no room for it."""
        try:
            with self._daemon.connection.client() as api:
                request(api, "GET", self._path, _query(path), stream=True).close()
        except DaemonError as error:
            return error.words
        return "the daemon does not say why"


class Destination(Value):
    """``path`` without links. The first ``existing`` names of it are folders of the guest,
    the others are missing; but if ``blocked``, the last one is there and is no folder."""

    path: tuple[bytes, ...]
    existing: int
    blocked: bool = False

    @property
    def is_folder(self) -> bool:
        return self.existing == len(self.path)


def find_destination(guest: Guest, written: str, *, directory: bool) -> Destination:
    """Follow ``written``, an absolute path. A link in the last place is followed if it leads
    to a folder; with ``directory`` also if it leads to nothing, where a folder is then made.
    Raises ``BuildError`` where there is no way."""
    walk = _Walk(guest, directory=directory)
    names = [name for name in encode(written).split(b"/") if name not in (b"", b".")]
    for position, name in enumerate(names):
        walk.step(name, last=position == len(names) - 1, written=written)
    return Destination(tuple(walk.path), walk.existing, walk.blocked)


class _Walk:
    def __init__(self, guest: Guest, *, directory: bool):
        self._directory = directory
        self._look: Callable[[tuple[bytes, ...]], _Entry | None] = guest.look
        self._header = guest.header
        self._links = 0
        self.path: list[bytes] = []
        self.existing = 0
        self.blocked = False

    def step(self, name: bytes, *, last: bool, written: str) -> None:
        if name == b"..":
            del self.path[-1:]
            self.existing = min(self.existing, len(self.path))
            return
        self.path.append(name)
        if self.existing < len(self.path) - 1:
            return  # below something missing
        found = self._look(tuple(self.path))
        if found is None:
            return
        if found.directory:
            self.existing += 1
        elif found.link and self._follow(found, last=last, written=written):
            return
        elif last:
            self.blocked = True
        else:
            raise BuildError(
                f"cannot copy to {written}: {show(tuple(self.path))} is no folder in the image"
            )

    def _follow(self, found: _Entry, *, last: bool, written: str) -> bool:
        """Go where a link leads; stay at a last one that does not lead to a folder."""
        self._links += 1
        if self._links > _MAX_LINKS:
            raise BuildError(f"cannot copy to {written}: too many links on the way in the image")
        before = self.path, self.existing
        link = tuple(self.path)
        if "\ufffd" in found.target:
            # The daemon's JSON has lost bytes that are not UTF-8; the header has them.
            target = encode(self._header(link).linkname)
        else:
            target = found.target.encode()
        self.path = [] if target.startswith(b"/") else self.path[:-1]
        self.existing = len(self.path)
        names = [name for name in target.split(b"/") if name not in (b"", b".")]
        for position, name in enumerate(names):
            self.step(name, last=last and position == len(names) - 1, written=written)
        if last and self.existing < len(self.path) and not self._directory:
            (self.path, self.existing), self.blocked = before, False
            return False
        return True


def show(path: tuple[bytes, ...]) -> str:
    return readable(decode(b"/" + b"/".join(path)))


def _query(path: tuple[bytes, ...]) -> str:
    return "path=" + quote(b"/" + b"/".join(path), safe="/")
