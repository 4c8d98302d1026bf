"""Trees to pack and unpack, archives of any kind, and what a tree looks like."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obuild.layers import Extracted, Extraction, extract

__all__ = ["archive", "canary", "look", "member", "opened", "unpack"]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> Any:
    """A member and its content; ``fields`` are those of ``tarfile.TarInfo``."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(*members: Any, format: int = tarfile.PAX_FORMAT, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, **options) as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes, root: Path, **how: Any) -> Extracted:
    root.mkdir(exist_ok=True)
    with opened(root) as fd:
        return extract(io.BytesIO(data), fd, Extraction(**how))


def look(root: Path, *, times: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """All that can be seen of a tree, by name; hard links as the name that sorts first."""
    found: dict[bytes, tuple[Any, ...]] = {}
    names: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        folders.sort()
        for base in sorted(folders + files):
            path = os.path.join(folder, base)
            status = os.lstat(path)
            name = path[len(top) + 1 :]
            content: Any = None
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(status.st_mode):
                content = status.st_rdev
            first = None
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                first = names.setdefault((status.st_dev, status.st_ino), name)
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if ".overlay." not in key
            }
            found[name] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns if times else None,
                content,
                first,
                xattrs,
            )
    return found


def canary(folder: Path) -> Path:
    """A tree beside the root that must never change; links and names of attacks lead to it."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    (outside / "folder").mkdir()
    (outside / "folder" / "deep").write_bytes(b"precious, too")
    os.utime(outside / "file", ns=(1, 1))
    return outside
