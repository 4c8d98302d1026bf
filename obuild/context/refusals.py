"""The errors about sources. The messages of most are OBuilder's, word for word, because
scripts compare them (golden: ``manifest``); the hints are ours."""

from __future__ import annotations

import os

from obuild.errors import SourceError
from obuild.sexp import quote, write_atom

__all__ = [
    "changed",
    "missing",
    "not_a_folder",
    "not_regular",
    "outside",
    "show",
    "unreadable",
    "unsupported",
    "vanished",
]

_AGAIN = "Run the build again when nothing else writes to the build context."
_KINDS = "Only files, folders and symbolic links can be copied"


def show(text: str) -> str:
    """``text`` in quotes for a person: escaped only if it has characters that do not print."""
    return f'"{text}"' if text.isprintable() and '"' not in text else quote(text)


def missing(source: str, hint: str | None) -> SourceError:
    return SourceError(f"Source path {quote(source)} not found", hint=hint)


def outside(source: str) -> SourceError:
    return SourceError(
        f"Can't use .. in source paths! (in {quote(source)})",
        hint="Sources are paths inside the build context and cannot leave it.",
    )


def not_a_folder(parts: list[str], source: str) -> SourceError:
    """A file where the source goes on; OBuilder names the way to it from its end."""
    path = "/".join(parts)
    return SourceError(
        f"Not a directory: {'/'.join(reversed(parts))} (in {quote(source)})",
        hint=f"{show(path)} is a file: nothing, not even a slash, can follow its name.",
    )


def not_regular(parts: list[str], source: str, target: str | None) -> SourceError:
    """Something on the way that is neither folder nor file; ``target`` if it is a link."""
    if target is None:
        hint = f"{_KINDS}."
    else:
        hint = f"{show('/'.join(parts))} is a symbolic link to {show(target)}: sources follow none."
    return SourceError(
        f"Not a regular file: {'/'.join(reversed(parts))} (in {quote(source)})", hint=hint
    )


def unsupported(path: str) -> SourceError:
    name = write_atom(path.rpartition("/")[2])
    return SourceError(
        f"Unsupported file type for {quote(path)}",
        hint=f"{_KINDS}; (exclude {name}) in the copy leaves it out.",
    )


def vanished(path: str) -> SourceError:
    return SourceError(f"File {quote(path)} not found in source directory", hint=_AGAIN)


def changed(path: str, when: str) -> SourceError:
    """``when``: what was being done to the file, ``sent`` or ``read``."""
    return SourceError(f"{quote(path)} changed while it was {when}", hint=_AGAIN)


def unreadable(path: str, error: OSError) -> SourceError:
    hint = None
    if isinstance(error, PermissionError):
        name = write_atom(path.rpartition("/")[2])
        hint = f"Make it readable, or leave it out with (exclude {name}) in the copy."
    return SourceError(f"Cannot read {quote(path)}: {os.strerror(error.errno or 0)}", hint=hint)
