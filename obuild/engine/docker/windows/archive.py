"""Tools for Windows guests, out of an archive that the user names.

The archive is a tar, plain or compressed as Python reads it, or a zip. The tools are the files
that stand beside ``bash.exe``, wherever that is: Cygwin's ``bin`` folder packed as it is will do,
and so will a folder with just these programs and the DLLs that they need.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from hashlib import sha256

from obuild.errors import UsageError

__all__ = ["NEEDED", "digest_of", "read_tools"]

NEEDED = (
    "bash.exe",
    "cp.exe",
    "cygpath.exe",
    "du.exe",
    "head.exe",
    "readlink.exe",
    "rm.exe",
    "sha256sum.exe",
    "stat.exe",
    "tar.exe",
)
"""What the programs of ``libexec`` and obuild itself run there."""

_MOST = 256 << 20


def read_tools(path: str) -> dict[str, bytes]:
    """Names and contents. Raises ``UsageError`` for what is no such archive."""
    try:
        with open(path, "rb") as file:
            is_zip = zipfile.is_zipfile(file)
        entries = dict(_of_zip(path) if is_zip else _of_tar(path))
    except OSError as error:
        raise UsageError(f"--libexec-tools {path}: {error.strerror or error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise _refused(path, f"it is no archive that can be read: {error}") from error
    folders = [name[: -len("bash.exe")] for name in entries if _base(name) == "bash.exe"]
    if not folders:
        raise _refused(path, "there is no bash.exe in it")
    folder = min(folders, key=lambda name: (name.count("/"), name))
    inside = {name: data for name, data in entries.items() if name.startswith(folder)}
    tools = {_base(name): d for name, d in inside.items() if "/" not in name[len(folder) :]}
    missing = [name for name in NEEDED if name not in tools]
    if missing:
        raise _refused(path, f"beside bash.exe there is no {', '.join(missing)}")
    return tools


def digest_of(files: Mapping[str, str]) -> str:
    """One digest for files by name and sha256: by this they are known in the volume."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(files.items())]
    return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _of_zip(path: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(entry.file_size for entry in archive.infolist()))
        for entry in archive.infolist():
            if not entry.is_dir():
                yield entry.filename, archive.read(entry)


def _of_tar(path: str) -> Iterator[tuple[str, bytes]]:
    """A link, as Cygwin has them from one tool to another, is the file that it leads to."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        _check_size(path, sum(member.size for member in members))
        for member in members:
            if member.isdir():
                continue
            try:
                content = archive.extractfile(member)
            except KeyError:
                continue  # a link that leads out of the archive
            if content is not None:
                yield member.name, content.read()


def _check_size(path: str, size: int) -> None:
    if size > _MOST:
        raise _refused(path, f"it holds {size >> 20} MiB; the tools have room in {_MOST >> 20}")


def _refused(path: str, why: str) -> UsageError:
    return UsageError(
        f"--libexec-tools {path}: {why}",
        hint=f"give a tar or zip in which one folder has {', '.join(NEEDED)} and their DLLs",
    )
