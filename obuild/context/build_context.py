"""The build context as its users see it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from obuild.context import refusals
from obuild.context.digests import DigestCache, NoDigestCache
from obuild.context.files import ContextFiles
from obuild.context.folders import Folders
from obuild.context.manifests import add_attributes, make_manifest
from obuild.context.placing import owner_of
from obuild.context.sources import find_source, misspelt
from obuild.errors import ContextError, SourceError
from obuild.ir.manifest import Manifest
from obuild.ir.ops import User
from obuild.source import encode

__all__ = ["BuildContext"]

_NO_CACHE: Final = NoDigestCache()


class BuildContext:
    """The folder that sources of copies are in.

    Several threads may use it at once, as far as the digest cache allows it. It holds no
    open files.
    """

    def __init__(
        self,
        root: str,
        digests: DigestCache = _NO_CACHE,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        cwd: str | None = None,
    ):
        """``cwd`` is the user's current folder, for hints only.

        Raises ``ContextError`` if ``root`` does not exist, is no folder, or is not readable.
        """
        self.root = root
        self._path = os.path.abspath(encode(root))
        self._digests = digests
        self._now_ns = now_ns
        self._cwd = None if cwd is None else os.path.abspath(encode(cwd))
        self._identity = _identify(root)

    def manifest(
        self, source: str, exclude: tuple[str, ...], *, attributes: bool = False
    ) -> Manifest:
        """The tree at ``source``, without what has one of the names in ``exclude``; each of its
        nodes has attributes if they are asked for.

        Excluded names are compared as bytes with names inside the source, not with the
        source's own. Raises ``SourceError``; the messages are OBuilder's.
        """
        left_out = frozenset(encode(name) for name in exclude)
        with self._open() as folders:
            try:
                path, status = find_source(folders, source)
            except SourceError as error:
                if error.hint is None:
                    error.hint = self._suggest(folders, source)
                raise
            made = make_manifest(folders, path, status, left_out, self._digests, self._now_ns)
            return add_attributes(folders, made) if attributes else made

    def files(self, manifests: tuple[Manifest, ...], destination: str, user: User) -> ContextFiles:
        """What a copy of ``manifests`` to ``destination`` sends, owned by ``user``.

        With a destination that ends in a slash each goes into it, else the only one becomes
        it. Files of a user by name belong to 0:0. Raises ``ScriptError`` for a user or group
        number that no system has.
        """
        return ContextFiles(self._open, manifests, destination, owner_of(user))

    def suggest(self, source: str) -> str | None:
        """A hint for a source that is not in the context, None if there is nothing to say."""
        with self._open() as folders:
            return self._suggest(folders, source)

    def _suggest(self, folders: Folders, source: str) -> str | None:
        if self._in_current_folder(source):
            return (
                f"{refusals.show(source)} stands in the current folder, but the build context "
                f"is {refusals.show(self.root)}: name the current folder (.) as the context."
            )
        meant = misspelt(folders, source)
        return f"Did you mean {refusals.show(meant)}?" if meant else None

    def _in_current_folder(self, source: str) -> bool:
        if self._cwd is None or self._cwd == self._path or "\0" in source:
            return False
        name = encode(source).strip(b"/")
        return bool(name) and os.path.lexists(os.path.join(self._cwd, name))

    def _open(self) -> Folders:
        try:
            return Folders(self._path, self._identity)
        except OSError as error:
            raise _unusable(self.root, error) from error


def _identify(root: str) -> tuple[int, int]:
    """Device and inode of the folder; looks into it once, to fail early."""
    try:
        with Folders(encode(root)) as folders:
            folders.names("")
            status = os.stat(b".", dir_fd=folders.folder(""))
    except OSError as error:
        raise _unusable(root, error) from error
    except ValueError as error:
        raise ContextError(f"The build context {refusals.show(root)} is no path") from error
    return status.st_dev, status.st_ino


def _unusable(root: str, error: OSError) -> ContextError:
    name = refusals.show(root)
    match error:
        case FileNotFoundError():
            return ContextError(
                f"The build context {name} does not exist", hint="Name an existing folder."
            )
        case NotADirectoryError():
            return ContextError(
                f"The build context {name} is not a folder",
                hint="Name the folder that the sources of copies are in.",
            )
        case _:
            return ContextError(
                f"Cannot read the build context {name}: {os.strerror(error.errno or 0)}",
                hint="Name a folder that you may read.",
            )
