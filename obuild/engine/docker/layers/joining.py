"""What several layers come to, laid one over the other, as one layer that does the same.

Names are as layers have them (OCI image spec, "Image Layer Filesystem Changeset"): a later
layer's file stands over an earlier one's, ``.wh.NAME`` takes NAME away, ``.wh..wh..opq`` in a
folder takes away all that was in it. Pure rules; ``members`` reads the layers, ``flatten`` has
them from the daemon.

Whiteouts stay only where something below is there to be hidden: overlayfs shows one that
stands in a folder of a single layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from obuild.values import Value

__all__ = ["Entry", "Index", "Joined", "join", "whiteout_of"]

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"


class Entry(NamedTuple):
    """A member of a layer: its path (no slash at either end; the root is empty), its bytes,
    header included, whether it is a folder, and for a hard link the path of the same layer
    that it is another name of."""

    path: str
    size: int
    folder: bool
    target: str | None = None


Index = Sequence[Entry]
"""The members of a layer, in order."""

Place = tuple[int, int]
"""A layer's position, and an entry's in it."""


class Joined(Value):
    """What to take of the layers.

    ``kept``: the entries that remain, by layer. ``renamed``: the file at that place comes under
    this name, since its own is gone and a hard link of it remains; it is not in ``kept``.
    ``relinked``: the hard link at that place now is one of this path. ``marks``: paths of
    whiteouts, to be added at the end.
    """

    kept: Mapping[int, frozenset[int]]
    renamed: Mapping[Place, str]
    relinked: Mapping[Place, str]
    marks: tuple[str, ...]


class _View:
    """Layers seen from above: what is visible, and what hides what lies below."""

    def __init__(self) -> None:
        self.visible: dict[str, Place] = {}
        self.folders: set[str] = set()
        self.removed: set[str] = set()
        self.covered: set[str] = set()
        """Paths below which nothing of a lower layer is seen."""
        self._seen: set[str] = set()

    def below(self, position: int, layer: Index) -> None:
        """Add the next lower layer."""
        last: dict[str, int] = {}
        removed: set[str] = set()
        covered: set[str] = set()
        for number, entry in enumerate(layer):
            folder, name = _split(entry.path)
            if name == _OPAQUE:
                covered.add(folder)
            elif name.startswith(_PREFIX):
                removed.add(_join(folder, name.removeprefix(_PREFIX)))
            else:
                last[entry.path] = number
        hidden = _Hidden(self.covered)
        for path, number in last.items():
            if path not in self._seen and not hidden.below(path):
                self.visible[path] = (position, number)
                if layer[number].folder:
                    self.folders.add(path)
            if not layer[number].folder:
                covered.add(path)
        self.removed |= {
            path
            for path in removed - last.keys()
            if path not in self._seen and not hidden.below(path)
        }
        self._seen |= last.keys() | removed
        self.covered |= covered | removed


class _Hidden:
    """Whether something covers a path, remembered by folder."""

    def __init__(self, covered: set[str]):
        self._covered = covered
        self._known: dict[str, bool] = {}

    def below(self, path: str) -> bool:
        """Whether a folder on the way to ``path`` is covered."""
        return path != "" and self._at(_split(path)[0])

    def _at(self, folder: str) -> bool:
        way = []
        while folder not in self._known and folder not in self._covered and folder:
            way.append(folder)
            folder = _split(folder)[0]
        found = self._known.get(folder, folder in self._covered)
        self._known.update(dict.fromkeys(way, found))
        return found


def join(lower: Sequence[Index], upper: Sequence[Index]) -> Joined:
    """One layer that does to ``lower`` what ``upper`` do. All layers lowest first."""
    top, bottom = _seen_from_above(upper), _seen_from_above(lower)
    kept: dict[int, set[int]] = {}
    for position, number in top.visible.values():
        kept.setdefault(position, set()).add(number)
    renamed: dict[Place, str] = {}
    relinked: dict[Place, str] = {}
    for position, numbers in kept.items():
        _mend_links(position, upper[position], numbers, renamed, relinked)
    return Joined(
        {position: frozenset(numbers) for position, numbers in kept.items()},
        renamed,
        relinked,
        tuple(_marks(top, bottom)),
    )


def whiteout_of(path: str) -> str:
    """The name of what takes ``path`` away."""
    folder, name = _split(path)
    return _join(folder, _PREFIX + name)


def _seen_from_above(layers: Sequence[Index]) -> _View:
    view = _View()
    for position in reversed(range(len(layers))):
        view.below(position, layers[position])
    return view


def _marks(top: _View, bottom: _View) -> Iterator[str]:
    """Whiteouts for what is below and must not be seen, in a stable order."""
    hidden = _Hidden(top.covered)
    for path in sorted(top.removed):
        if path in bottom.visible and not hidden.below(path):
            yield whiteout_of(path)
    for path in sorted(top.folders & top.covered):
        if path in bottom.visible and not hidden.below(path):
            yield _join(path, _OPAQUE)


def _mend_links(
    position: int,
    layer: Index,
    kept: set[int],
    renamed: dict[Place, str],
    relinked: dict[Place, str],
) -> None:
    """Hard links whose file is hidden by a later layer become the file."""
    files: dict[str, int] = {}
    new_names: dict[int, str] = {}
    for number, entry in enumerate(layer):
        if entry.target is None:
            files[entry.path] = number
            continue
        file = files.get(entry.target)
        if file is None:
            continue
        files[entry.path] = file
        if number not in kept or file in kept:
            continue
        if file in new_names:
            relinked[position, number] = new_names[file]
        else:
            new_names[file] = renamed[position, file] = entry.path
            kept.discard(number)
    # A link of a link, where only the one between is hidden, points at the file itself.
    for number in kept:
        target = layer[number].target
        if target is None or (position, number) in relinked:
            continue
        file = files.get(target)
        if file is not None and layer[file].path != target:
            relinked[position, number] = layer[file].path


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
