"""Several layers made into one that does the same, by hard links: no file is copied.

Layers are never written to once they are made, so files may stand in two of them. What the
marks of overlayfs mean: kernel documentation, "Overlay Filesystem".
"""

from __future__ import annotations

import os
import stat
from typing import Any

from obuild.engine.native.inside.stacks import in_user_namespace
from obuild.engine.native.inside.streams import Streams

__all__ = ["join"]


def join(wanted: dict[str, Any], _: Streams) -> dict[str, Any]:
    """``layers``: the folder of all layers; ``stack``: which, the lowest first; ``folder``:
    an empty folder, which becomes the layer."""
    prefix = "user" if in_user_namespace() else "trusted"
    joined = _Joined(os.fsencode(wanted["folder"]), f"{prefix}.overlay.opaque")
    for name in wanted["stack"]:
        joined.lay(os.path.join(os.fsencode(wanted["layers"]), os.fsencode(name), b"fs"), b"")
    joined.finish()
    return {}


class _Joined:
    """The layer in the making; layers are laid on it from the lowest to the highest."""

    def __init__(self, target: bytes, opaque: str):
        self._target = target
        self._opaque = opaque
        self._folders: dict[bytes, os.stat_result] = {}

    def lay(self, layer: bytes, path: bytes) -> None:
        todo = [path]
        while todo:
            path = todo.pop()
            source, target = layer + path, self._target + path
            self._folder(source, target, path)
            with os.scandir(source) as entries:
                for entry in entries:
                    below = b"%s/%s" % (path, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(below)
                    else:
                        self._remove(self._target + below, below)
                        os.link(entry.path, self._target + below, follow_symlinks=False)

    def finish(self) -> None:
        """Times of folders are set when nothing more goes into them."""
        for path, found in reversed(self._folders.items()):
            os.utime(self._target + path, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _folder(self, source: bytes, target: bytes, path: bytes) -> None:
        found = os.stat(source, follow_symlinks=False)
        attributes = {name: os.getxattr(source, name) for name in os.listxattr(source)}
        opaque = attributes.get(self._opaque) == b"y"
        there = _status(target)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            # A folder over what is no folder hides what the layers below have there. A
            # whiteout says that, too.
            self._remove(target, path)
            there, opaque = None, True
        elif there is not None and opaque and path:
            self._remove(target, path)
            there = None
        if there is None:
            os.mkdir(target)
        os.chown(target, found.st_uid, found.st_gid)
        os.chmod(target, stat.S_IMODE(found.st_mode))
        for name in os.listxattr(target):
            if name not in attributes and name != self._opaque:
                os.removexattr(target, name)
        for name, value in attributes.items():
            os.setxattr(target, name, value)
        if opaque:
            os.setxattr(target, self._opaque, b"y")
        self._folders.pop(path, None)
        self._folders[path] = found

    def _remove(self, target: bytes, path: bytes) -> None:
        found = _status(target)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(target)
            return
        inside = path + b"/"
        for known in [known for known in self._folders if (known + b"/").startswith(inside)]:
            del self._folders[known]
        for where, folders, files in os.walk(target, topdown=False):
            for name in files:
                os.unlink(os.path.join(where, name))
            for name in folders:
                below = os.path.join(where, name)
                os.unlink(below) if os.path.islink(below) else os.rmdir(below)
        os.rmdir(target)


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
