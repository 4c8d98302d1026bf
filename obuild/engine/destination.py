"""Where in a guest a copy really goes: links on the way followed within the guest's root."""

from __future__ import annotations

from typing import Protocol

from obuild.errors import BuildError
from obuild.source import decode, encode, readable
from obuild.values import Value

__all__ = ["Destination", "Entry", "Guest", "find_destination", "show"]

_MAX_LINKS = 40


class Entry(Value):
    """A file: a folder, a link (``target`` as the guest's engine tells it) or a regular one."""

    directory: bool
    link: bool
    target: str
    regular: bool


class Guest(Protocol):
    """The files of a guest, looked at one by one. Paths are tuples of names as bytes."""

    def look(self, path: tuple[bytes, ...]) -> Entry | None:
        """What stands at ``path``, not following a link there; None if nothing does. Links
        above it are followed, within the guest. Raises ``BuildError``."""
        ...

    def target(self, path: tuple[bytes, ...], link: Entry, /) -> bytes:
        """Where that link leads, as far as one step goes or to the end."""
        ...


class Destination(Value):
    """``path`` without links. The first ``existing`` names of it are folders of the guest,
    the others are missing; but if ``blocked``, the last one is there and is no folder."""

    path: tuple[bytes, ...]
    existing: int
    blocked: bool = False

    @property
    def is_folder(self) -> bool:
        return self.existing == len(self.path)


def find_destination(guest: Guest, written: str, *, directory: bool) -> Destination:
    """Follow ``written``, an absolute path. A link in the last place is followed if it leads
    to a folder; with ``directory`` also if it leads to nothing, where a folder is then made.
    Raises ``BuildError`` where there is no way."""
    walk = _Walk(guest, directory=directory)
    names = [name for name in encode(written).split(b"/") if name not in (b"", b".")]
    for position, name in enumerate(names):
        walk.step(name, last=position == len(names) - 1, written=written)
    return Destination(tuple(walk.path), walk.existing, walk.blocked)


class _Walk:
    def __init__(self, guest: Guest, *, directory: bool):
        self._directory = directory
        self._guest = guest
        self._links = 0
        self.path: list[bytes] = []
        self.existing = 0
        self.blocked = False

    def step(self, name: bytes, *, last: bool, written: str) -> None:
        if name == b"..":
            del self.path[-1:]
            self.existing = min(self.existing, len(self.path))
            return
        self.path.append(name)
        if self.existing < len(self.path) - 1:
            return  # below something missing
        found = self._guest.look(tuple(self.path))
        if found is None:
            return
        if found.directory:
            self.existing += 1
        elif found.link and self._follow(found, last=last, written=written):
            return
        elif last:
            self.blocked = True
        else:
            raise BuildError(
                f"cannot copy to {written}: {show(tuple(self.path))} is no folder in the image"
            )

    def _follow(self, found: Entry, *, last: bool, written: str) -> bool:
        """Go where a link leads; stay at a last one that does not lead to a folder."""
        self._links += 1
        if self._links > _MAX_LINKS:
            raise BuildError(f"cannot copy to {written}: too many links on the way in the image")
        before = self.path, self.existing
        link = tuple(self.path)
        target = self._guest.target(link, found)
        self.path = [] if target.startswith(b"/") else self.path[:-1]
        self.existing = len(self.path)
        names = [name for name in target.split(b"/") if name not in (b"", b".")]
        for position, name in enumerate(names):
            self.step(name, last=last and position == len(names) - 1, written=written)
        if last and self.existing < len(self.path) and not self._directory:
            (self.path, self.existing), self.blocked = before, False
            return False
        return True


def show(path: tuple[bytes, ...]) -> str:
    return readable(decode(b"/" + b"/".join(path)))
