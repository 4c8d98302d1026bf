"""The files of a snapshot through the tools of its guest, which are not trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from obuild.engine.docker.sources.guesttar import Archive, Expected
from obuild.engine.docker.sources.serving import Serving, ToolsMissing, failed, untrue
from obuild.engine.docker.sources.tools import Tools
from obuild.errors import SourceError
from obuild.ir.listing import read_manifest
from obuild.ir.manifest import Dir, File, Manifest, Symlink
from obuild.source import encode

__all__ = ["Served"]

_MOST_TEXT = 128 << 20
"""Bytes of all manifests of one copy: some 800,000 files."""

_A_SOURCE = 1
_LONGEST_SIZE = 1 << 13


class Served:
    """See ``Archived`` for the methods, which are the same."""

    def __init__(self, serving: Serving, tools: Tools):
        self._serving = serving
        self._tools = tools
        self._running: Iterator[tuple[int, Iterator[bytes]]] = iter(())
        self._content: Iterator[bytes] = iter(())

    def manifest(self, sources: Sequence[str], exclude: Sequence[str]) -> tuple[Manifest, ...]:
        arguments = [b"--attributes", encode(self._tools.root), encode(self._tools.separator)]
        arguments += _counted(exclude) + _counted(sources)
        self._serving.ask(b"manifest", b"%d" % len(arguments), *arguments)
        text, (status, words) = self._serving.text(_MOST_TEXT)
        if status == _A_SOURCE and words:
            raise SourceError(words)
        if status:
            raise ToolsMissing(f"manifest.bash: {words}")
        lines = text.split(b"\n")
        del text
        if len(lines) != len(sources) + 1 or lines[-1]:
            raise untrue(f"it has {len(lines) - 1} manifests where {len(sources)} should be")
        return tuple(map(_read, lines[:-1], sources))

    def sizes(self, files: Sequence[File]) -> list[int]:
        self._serving.keep_list(b"files", [encode(item.path) for item in files])
        self._serving.ask(b"sizes")
        sizes = []
        for item in files:
            (found,) = self._serving.fields(1, _LONGEST_SIZE)
            size, _, name = found.partition(b"\t")
            if not size.isdigit() or len(size) > 18 or name != b"./" + encode(item.path):
                status = self._status_after(found)
                raise failed("the sizes of the files cannot be had from the other build", status)
            sizes.append(int(size))
        self._end("du")
        return sizes

    def members(
        self, tops: Sequence[Sequence[Manifest]], sizes: Sequence[int]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        self._finish()
        self._running = self._send([item for top in tops for item in top], sizes)
        return self._running

    def _finish(self) -> None:
        """Read to its end what somebody began to read, and gave up."""
        for _ in self._content:
            pass
        for _, content in self._running:
            for _ in content:
                pass

    def _send(
        self, items: Sequence[Manifest], sizes: Sequence[int]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        self._serving.keep_list(b"all", [encode(item.path) for item in items])
        self._serving.ask(b"tar")
        archive, wanted = Archive(self._serving), iter(sizes)
        for item in items:
            size = next(wanted) if isinstance(item, File) else 0
            mtime = archive.next(_expected(item, size, self._tools))
            self._content = self._serving.pieces(size)
            yield mtime, self._content
            padding = -size % 512
            if self._serving.take(padding).strip(b"\0"):
                raise untrue("its archive has something between its members")
            archive.count(size + padding)
        archive.end()
        self._end("tar")

    def _end(self, tool: str) -> None:
        status, words = self._serving.answer()
        if status:
            raise failed(f"{tool} failed in the other build (status {status})", words)

    def _status_after(self, found: bytes) -> str:
        """What the guest said in place of a size; an answer's end begins with an empty text."""
        if found:
            return found.decode("utf-8", "replace")
        _, words = self._serving.fields(2, _LONGEST_SIZE)
        return words.decode("utf-8", "replace")


def _counted(names: Sequence[str]) -> list[bytes]:
    return [b"%d" % len(names), *map(encode, names)]


def _expected(item: Manifest, size: int, tools: Tools) -> Expected:
    name = b"./" + encode(item.path)
    match item:
        case Dir():
            return Expected(b"5", name + b"/")
        case Symlink():
            return Expected(b"2", name, target=tools.link(item.target))
        case File():
            return Expected(b"0", name, size)


def _read(line: bytes, source: str) -> Manifest:
    """The manifest of ``source``, which the guest printed."""
    try:
        made = read_manifest(line)
    except ValueError as error:
        raise untrue(f"its manifest cannot be read: {error}") from None
    path = "/".join(part for part in source.split("/") if part not in ("", "."))
    if made.path != path:
        raise untrue(f"it has a manifest of {made.path[:300]!r} where {path!r} was asked for")
    items: list[Manifest] = [made]
    while items:
        item = items.pop()
        if item.attributes is None:
            raise untrue("its manifest has no attributes")
        items.extend(item.items if isinstance(item, Dir) else ())
    return made
