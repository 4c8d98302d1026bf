"""Performing a copy into a Windows guest.

A container of the parent unpacks the stream from its standard input with the tools of the
libexec volume (``libexec/unpack.bash``), and is committed. What is at the destination is found
out by tar itself: it follows links on the way, and says if a file stands where a folder must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from threading import Event

from obuild.engine import PutFiles, Snapshot
from obuild.engine.docker import command
from obuild.engine.docker.config import commit_body, committed
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.images import Images
from obuild.engine.docker.parents import Parents
from obuild.engine.docker.talking import last_words, talk
from obuild.engine.docker.windows.guest import check_name, drive_path
from obuild.engine.docker.windows.tools import DRIVE, WindowsTools
from obuild.errors import BuildError, StepFailed

__all__ = ["WindowsPuts"]

_BLOCK = 512
_CLOSING = bytes(2 * _BLOCK)
_LONG = b"L"
_LONG_TARGET = b"K"
_MORE_THAN_OCTAL = 0x80


class WindowsPuts:
    """Puts files into snapshots of Windows guests."""

    def __init__(self, daemon: Daemon, images: Images, parents: Parents, tools: WindowsTools):
        self._daemon = daemon
        self._images = images
        self._parents = parents
        self._tools = tools

    def put(self, key: str, parent: str, action: PutFiles, cancel: Event) -> Snapshot:
        """See ``Engine.execute``."""
        root = drive_path(action.destination)
        name = self._daemon.names.container(key)
        stream = checked(action.files.tar(root))
        start = next(stream, b"")
        folder = action.files.directory or _is_folder(start)
        kind = b"folder" if folder else b"file"
        with self._parents.quiet(parent, key) as image:
            self._tools.prepare(image, name, cancel)
            argv = self._tools.script("unpack.bash", DRIVE)
            config = self._tools.config(image, argv)
            self._daemon.say(lambda: command.run_line(name, config))
            self._daemon.create(name, config)
            with self._daemon.temporary_container(name):
                sent = chain([kind + b"\0" + root + b"\0", start], stream, [_CLOSING])
                with talk(self._daemon, name, cancel, sent) as talking:
                    said = b"".join(talking.output())
                    status, words = talking.finish()
                if status:
                    raise _refused(action, status, words or said.decode("utf-8", "replace"), argv)
                return self._commit(key, parent, name, image)

    def _commit(self, key: str, parent: str, name: str, image: str) -> Snapshot:
        base = self._parents.config(parent, image)
        body = commit_body(base, ())
        made = self._daemon.commit(name, self._daemon.names.image(key), body)
        self._images.remember(key, committed(base, body, "ContainerAdministrator", "C:/"))
        return Snapshot(key, made)


def checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same stream of a tar in the GNU format, without a member for the drive itself, whose
    permissions stay. Raises ``BuildError`` for a name that Windows cannot have."""
    buffer = bytearray()
    skip = 0  # bytes of content that go on as they are
    long: bytes | None = None
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            yield piece
            continue
        buffer += piece[skip:]
        out = bytearray(piece[:skip])
        skip = 0
        while len(buffer) >= _BLOCK:
            header = bytes(buffer[:_BLOCK])
            size = _size(header)
            whole = size + -size % _BLOCK
            kind = header[156:157]
            if kind in (_LONG, _LONG_TARGET):
                if len(buffer) < _BLOCK + whole:
                    break
                if kind == _LONG:
                    long = bytes(buffer[_BLOCK : _BLOCK + size]).rstrip(b"\0")
                out += buffer[: _BLOCK + whole]
                del buffer[: _BLOCK + whole]
                continue
            name = header[:100].rstrip(b"\0") if long is None else long
            long = None
            check_name(name)
            if name not in (b"./", b"."):
                out += header
            del buffer[:_BLOCK]
            out += buffer[:whole]
            skip = max(0, whole - len(buffer))
            del buffer[:whole]
        if out:
            yield bytes(out)
    if buffer:
        yield bytes(buffer)


def _is_folder(start: bytes) -> bool:
    """Whether the first member is one; of what names it in full there is enough."""
    position = 0
    while start[position + 156 : position + 157] in (_LONG, _LONG_TARGET):
        size = _size(start[position : position + _BLOCK])
        position += _BLOCK + size + -size % _BLOCK
    return start[position + 156 : position + 157] in (b"5", b"")


def _size(header: bytes) -> int:
    field = header[124:136]
    if field[0] & _MORE_THAN_OCTAL:
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 ") or b"0", 8)


def _refused(action: PutFiles, status: int, words: str, argv: list[str]) -> BuildError:
    lower = words.lower()
    if "file exists" in lower or "not a directory" in lower or "is a directory" in lower:
        return BuildError(
            f"cannot copy to {action.destination}: {last_words(words)}",
            hint="something else stands there in the image; choose another destination",
        )
    return StepFailed(
        f"unpacking the files in the guest failed: {last_words(words)}",
        status=status,
        command=tuple(argv),
    )
