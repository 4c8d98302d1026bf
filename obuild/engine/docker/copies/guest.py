"""The files of a container, looked at through the daemon's archive endpoint.

A container that is created and never started tells it. The daemon says of each path what it
is and, of a link, where it leads in the end (``HEAD /containers/{id}/archive``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from obuild.engine.destination import Destination, Entry, show
from obuild.engine.docker.connection import DaemonError, request
from obuild.engine.docker.daemon import Daemon
from obuild.errors import BuildError
from obuild.source import decode, encode

if TYPE_CHECKING:
    from tarfile import TarInfo

__all__ = ["Container", "folders_of"]

# Go's file mode bits, which the daemon answers with (Go documentation, package io/fs).
_GO_DIRECTORY = 1 << 31
_GO_LINK = 1 << 27
_GO_TYPE = _GO_DIRECTORY | _GO_LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
_XATTR = "SCHILY.xattr."
_ENCODING = "utf-8"
_ERRORS = "surrogateescape"


class Container:
    """The files of a container; see ``obuild.engine.destination.Guest``."""

    def __init__(self, daemon: Daemon, container: str):
        self._daemon = daemon
        self._path = f"/containers/{container}/archive"

    def look(self, path: tuple[bytes, ...]) -> Entry | None:
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
        return Entry(bool(mode & _GO_DIRECTORY), link, target, not mode & _GO_TYPE)

    def target(self, path: tuple[bytes, ...], link: Entry) -> bytes:
        """See ``obuild.engine.destination.Guest``."""
        if "\ufffd" in link.target:
            # The daemon's JSON has lost bytes that are not UTF-8; the header has them.
            return encode(self.header(path).linkname)
        return link.target.encode()

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


def folders_of(container: Container, destination: Destination) -> Iterator[bytes]:
    """Headers of the folders that are there, for a layer: it must repeat what they are."""
    import tarfile

    for end in range(1, destination.existing + 1):
        path = destination.path[:end]
        found = container.header(path)
        member = tarfile.TarInfo(decode(b"/".join(path)))
        member.type = tarfile.DIRTYPE
        member.mode = found.mode & 0o7777
        member.uid, member.gid, member.mtime = found.uid, found.gid, found.mtime
        headers = found.pax_headers
        member.pax_headers = {k: v for k, v in headers.items() if k.startswith(_XATTR)}
        if member.pax_headers:
            yield member.tobuf(tarfile.PAX_FORMAT, _ENCODING, _ERRORS)
        else:
            yield member.tobuf(tarfile.GNU_FORMAT, _ENCODING, _ERRORS)


def _query(path: tuple[bytes, ...]) -> str:
    return "path=" + quote(b"/" + b"/".join(path), safe="/")
