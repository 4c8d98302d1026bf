"""List the caches of runs, remove them, take their files out, put files in."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from obuild.cli.arguments import add_store
from obuild.cli.cancelling import Cancelling
from obuild.cli.stored import open_both, shown, size_text
from obuild.engine import CacheVolume, Cancel
from obuild.errors import Cancelled, UsageError
from obuild.source import decode, encode, readable

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild cache ls
  obuild cache rm opam dune             obuild cache rm --all
  obuild cache export opam -o opam.tar.gz
  obuild cache import opam opam.tar.gz
  obuild cache export opam | ssh there obuild cache import opam -

A cache is what a run names in (cache (ID (target PATH))). Of one ID there may be several: one
as OBuilder has it, and one for each sharing (shared, private, locked). An archive is a tar;
export packs it if the name of its FILE ends in .gz or .tgz, import unpacks gzip, bzip2 and xz
by itself. Import puts the files in place of those that the cache has, all or none."""

_CHUNK = 1 << 20
_LOOK = 0.2
_SHARINGS = ["obuilder", "shared", "private", "locked"]


def register(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    listing = actions.add_parser("ls", help="list the caches")
    listing.add_argument("--json", action="store_true", help="one JSON array, sizes in bytes")
    removing = actions.add_parser("rm", help="remove caches")
    removing.add_argument("ids", metavar="ID", nargs="*", help="a cache; see obuild cache ls")
    removing.add_argument("--all", action="store_true", help="remove all caches of the store")
    taking = actions.add_parser("export", help="write the files of a cache as a tar archive")
    taking.add_argument("id", metavar="ID", help="a cache; see obuild cache ls")
    taking.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    putting = actions.add_parser("import", help="make a cache of a tar archive")
    putting.add_argument("id", metavar="ID", help="the cache, new or not")
    putting.add_argument("file", metavar="FILE", help="the archive; - is standard input")
    for action in (removing, taking, putting):
        action.add_argument(
            "--sharing", choices=_SHARINGS, help="which, if there are several of that ID"
        )
    for action in (listing, removing, taking, putting):
        add_store(action)
        action.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    {"ls": _list, "rm": _remove, "export": _export, "import": _import}[arguments.action](arguments)
    return 0


def _list(arguments: argparse.Namespace) -> None:
    with open_both(arguments.store, verbose=arguments.verbose) as (_, engine):
        caches = engine.caches()
    if arguments.json:
        json.dump([_row(cache) for cache in caches], sys.stdout, indent=1)
        print()
        return
    width = max((len(shown(cache.id)) for cache in caches), default=0)
    print(f"{'ID':{max(width, 2)}}  {'SHARING':8}  {'SIZE':>8}  {'CREATED':20}  USE")
    for cache in caches:
        size = "?" if cache.size is None else size_text(cache.size)
        use = "in use" if cache.in_use else ""
        line = f"{shown(cache.id):{max(width, 2)}}  {_kind(cache):8}  {size:>8}"
        print(f"{line}  {cache.created[:20]:20}  {use}".rstrip())


def _remove(arguments: argparse.Namespace) -> None:
    if arguments.all == bool(arguments.ids):
        raise UsageError("name the caches to remove, or give --all", hint="see obuild cache ls")
    with open_both(arguments.store, verbose=arguments.verbose) as (_, engine):
        caches = engine.caches()
        for id in arguments.ids:
            _named(caches, id, arguments.sharing)
        for cache in caches:
            wanted = arguments.all or _text(cache.id) in arguments.ids
            if wanted and arguments.sharing in (None, _kind(cache)):
                print(f"Removing {shown(cache.id)} ({_kind(cache)})", flush=True)
                engine.remove_cache(cache)


def _export(arguments: argparse.Namespace) -> None:
    path = arguments.output
    if path is None and sys.stdout.isatty():
        raise UsageError("an archive on a terminal helps nobody", hint="give -o FILE")
    with (
        open_both(arguments.store, verbose=arguments.verbose) as (_, engine),
        Cancelling() as cancel,
    ):
        found = _named(engine.caches(), arguments.id, arguments.sharing)
        if len(found) > 1:
            kinds = ", ".join(_kind(cache) for cache in found)
            raise UsageError(f"of {arguments.id} there are {kinds}", hint="choose by --sharing")
        with _written(path) as stream:
            for piece in engine.export_cache(found[0], cancel.flag):
                stream.write(piece)


def _import(arguments: argparse.Namespace) -> None:
    sharing = "" if arguments.sharing in (None, "obuilder") else arguments.sharing
    with (
        open_both(arguments.store, verbose=arguments.verbose, create=True) as (_, engine),
        Cancelling() as cancel,
        _opened(arguments.file) as stream,
        _complete(stream, cancel.flag) as archive,
    ):
        pieces = iter(lambda: archive.read(_CHUNK), b"")
        engine.import_cache(decode(os.fsencode(arguments.id)), sharing, pieces, cancel.flag)


@contextmanager
def _complete(stream: IO[bytes], cancel: Cancel) -> Iterator[IO[bytes]]:
    """All of the archive, in a file. What comes from a pipe is gathered first: while an archive
    is sent the daemon has its container locked, and all removals of images wait for that."""
    import stat
    import tempfile

    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        yield stream
        return
    with tempfile.TemporaryFile(prefix="obuild-cache-") as gathered:
        for piece in _pieces(stream.fileno(), cancel):
            try:
                gathered.write(piece)
            except OSError as error:
                raise UsageError(
                    f"cannot keep the archive in {tempfile.gettempdir()}: {error.strerror}",
                    hint="name a folder with more room in TMPDIR, or import from a file",
                ) from None
        gathered.seek(0)
        yield gathered


def _pieces(descriptor: int, cancel: Cancel) -> Iterator[bytes]:
    """What comes, even if little comes; ends soon after ``cancel`` is set."""
    import select

    while not cancel.is_set():
        if select.select([descriptor], [], [], _LOOK)[0]:
            data = os.read(descriptor, _CHUNK)
            if not data:
                return
            yield data
    raise Cancelled("cancelled")


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115
        if os.path.isdir(path):
            raise IsADirectoryError(0, "it is a folder")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    with stream:
        yield stream


@contextmanager
def _written(path: str | None) -> Iterator[IO[bytes]]:
    """The file gets its name when all is in it."""
    if path is None:
        yield sys.stdout.buffer
        return
    import tempfile

    folder, name = os.path.split(path)
    try:
        with tempfile.NamedTemporaryFile(
            prefix=f".{name}.", dir=folder or ".", delete=False
        ) as file:
            try:
                with _packed(path, file) as stream:
                    yield stream
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _packed(path: str, file: IO[bytes]) -> Iterator[IO[bytes]]:
    if not path.endswith((".gz", ".tgz")):
        yield file
        return
    import gzip

    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as stream:
        yield stream  # type: ignore[misc]


def _named(caches: Sequence[CacheVolume], id: str, sharing: str | None) -> list[CacheVolume]:
    """At least one. Raises ``UsageError``."""
    found = [cache for cache in caches if _text(cache.id) == id and sharing in (None, _kind(cache))]
    if not found:
        kind = f" with the sharing {sharing}" if sharing else ""
        raise UsageError(f"there is no cache {id}{kind}", hint="see obuild cache ls")
    return found


def _kind(cache: CacheVolume) -> str:
    return cache.sharing or "obuilder"


def _text(id: str) -> str:
    """As an argument of the command line is."""
    return os.fsdecode(encode(id))


def _row(cache: CacheVolume) -> dict[str, object]:
    return {
        "id": readable(cache.id),
        "sharing": _kind(cache),
        "volume": cache.name,
        "size": cache.size,
        "created": cache.created,
        "in_use": cache.in_use,
    }
