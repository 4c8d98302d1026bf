"""Finding a source in the context, by OBuilder's rules (its ``lib/manifest.ml``)."""

from __future__ import annotations

import errno
import os
import stat

from obuild.context import refusals
from obuild.context.folders import Folders
from obuild.errors import SourceError, nearest
from obuild.source import decode, encode

__all__ = ["find_source", "misspelt"]

_MANY = 5000


def find_source(folders: Folders, source: str) -> tuple[str, os.stat_result]:
    """The path of ``source`` without ``.`` and empty components, and its status.

    A leading slash means nothing: a source is always a path in the context. Only the last
    component may be a link or a file. Raises ``SourceError``, in OBuilder's order of checks:
    what stands first in the path is refused first.
    """
    parts: list[str] = []
    components = source.split("/")
    status = os.stat(folders.folder(""))
    for index, name in enumerate(components):
        if name in ("", "."):
            continue
        if name == "..":
            raise refusals.outside(source)
        status = _status(folders, parts, name, source)
        parts.append(name)
        if not stat.S_ISDIR(status.st_mode):
            _check_end(folders, parts, status, source, last=index == len(components) - 1)
    return "/".join(parts), status


def _status(folders: Folders, parts: list[str], name: str, source: str) -> os.stat_result:
    path = "/".join((*parts, name))
    try:
        folder = folders.folder("/".join(parts))
        return os.stat(encode(name), dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, ValueError):  # ValueError: a NUL, which no file's name has
        raise refusals.missing(source, None) from None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise refusals.changed("/".join(parts), "read") from error
        raise refusals.unreadable(path, error) from error


def _check_end(
    folders: Folders, parts: list[str], status: os.stat_result, source: str, *, last: bool
) -> None:
    """What is no folder must be a file or a link, and the end of the source."""
    is_file = stat.S_ISREG(status.st_mode)
    is_link = stat.S_ISLNK(status.st_mode)
    if last and (is_file or is_link):
        return
    if is_file:
        raise refusals.not_a_folder(parts, source)
    target = _target(folders, parts) if is_link else None
    raise refusals.not_regular(parts, source, target)


def _target(folders: Folders, parts: list[str]) -> str | None:
    """Where a link points, for a hint; None if it is no link any more."""
    try:
        folder = folders.folder("/".join(parts[:-1]))
        return decode(os.readlink(encode(parts[-1]), dir_fd=folder))
    except OSError:
        return None


def misspelt(folders: Folders, source: str) -> str | None:
    """The path in the context that a source that does not exist was likely meant to be."""
    parts = [name for name in source.split("/") if name not in ("", ".")]
    if ".." in parts:
        return None
    for depth, name in enumerate(parts):
        try:
            find_source(folders, "/".join(parts[: depth + 1]))
        except SourceError:
            above = parts[:depth]
            found = _near(folders, "/".join(above), name)
            return "/".join((*above, found, *parts[depth + 1 :])) if found else None
    return None


def _near(folders: Folders, folder: str, name: str) -> str | None:
    try:
        names = folders.names(folder)
    except OSError:
        return None
    if len(names) > _MANY:  # comparing them would take longer than the build's first step
        return None
    # A short word is near to anything: a third of it may differ, two letters at most.
    return nearest(name, sorted(map(decode, names)), min(2, len(name) // 3))
