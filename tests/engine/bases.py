"""What the contract's tests build on: base images with everything, and small copies."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

from obuild.engine import Engine, Import, Limits, PutFiles, RunCommand, Snapshot
from obuild.ir.ops import UnixUser, User
from obuild.ir.steps import RunStep

__all__ = ["SHELL", "Steps", "TreeFiles", "folder", "key_of", "link", "plain"]

SHELL = ("/bin/sh", "-c")
ROOT = UnixUser(0, 0)
UNLIMITED = Limits()


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def folder(name: bytes, mode: int = 0o755, uid: int = 0, gid: int = 0) -> bytes:
    member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, uid, gid
    member.mtime = 1_600_000_000
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def plain(name: bytes, content: bytes, mode: int = 0o644, uid: int = 0) -> bytes:
    member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    member.size, member.mode, member.uid, member.mtime = len(content), mode, uid, 1_600_000_001
    header = member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return header + content + bytes(-len(content) % 512)


def link(name: bytes, target: bytes) -> bytes:
    member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    member.type = tarfile.SYMTYPE
    member.linkname = target.decode("utf-8", "surrogateescape")
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class TreeFiles:
    """``Files`` made by a function from the root's name to pieces of a tar stream."""

    def __init__(self, make: Callable[[bytes], Iterator[bytes]], *, directory: bool = True):
        self.directory = directory
        self._make = make

    def tar(self, root: bytes) -> Iterator[bytes]:
        return self._make(root)

    @classmethod
    def of(cls, *files: tuple[bytes, bytes]) -> TreeFiles:
        """Plain files by name and content, into a folder."""

        def make(root: bytes) -> Iterator[bytes]:
            for name, content in files:
                yield plain(root + b"/" + name if root else name, content)

        return cls(make)

    @classmethod
    def one(cls, content: bytes, mode: int = 0o644) -> TreeFiles:
        """A file that becomes the destination."""
        return cls(lambda root: iter([plain(root, content, mode)]), directory=False)


@dataclass
class Steps:
    """Short words for steps on one engine."""

    engine: Engine

    def base(self, image: str) -> str:
        found = self.engine.resolve(image, None, lambda _: None, 1, pull=False)
        key = key_of(image)
        self.engine.execute(key, None, Import(found), lambda _: None, Event())
        return key

    def run(
        self,
        parent: str,
        cmd: str,
        *,
        workdir: str = "/",
        user: User = ROOT,
        env: Sequence[tuple[str, str]] = (),
        shell: Sequence[str] = SHELL,
        network: Sequence[str] = (),
        limits: Limits = UNLIMITED,
        output: Callable[[bytes], None] = lambda _: None,
        cancel: Event | None = None,
    ) -> str:
        """The key of the result, which follows from all that is given."""
        step = RunStep(workdir, user, tuple(env), cmd, tuple(shell), tuple(network))
        key = key_of(repr((parent, step)))
        action = RunCommand(step, limits)
        self.engine.execute(key, parent, action, output, cancel or Event())
        return key

    def put(self, parent: str, destination: str, files: TreeFiles, name: str = "") -> str:
        key = key_of(f"{parent} {destination} {id(files)} {name}")
        made = self.engine.execute(
            key, parent, PutFiles(destination, files), lambda _: None, Event()
        )
        assert isinstance(made, Snapshot)
        return key

    def see(self, parent: str, cmd: str) -> bytes:
        """What a command prints in the snapshot; nothing is kept of it."""
        got: list[bytes] = []
        key = self.run(parent, cmd, output=got.append)
        self.engine.delete([key])
        return b"".join(got)
