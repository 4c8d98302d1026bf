"""How much room a tree takes."""

from __future__ import annotations

import os
import stat

__all__ = ["tree_size"]

_BLOCK = 512


def tree_size(path: str) -> int:
    """The bytes that the file system has for it; of hard links once."""
    size = 0
    seen: set[tuple[int, int]] = set()
    todo = [path]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    todo.append(entry.path)
                elif found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                size += found.st_blocks * _BLOCK
    return size
