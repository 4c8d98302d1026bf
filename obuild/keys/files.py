"""What changed in the files of a copy, from the manifests in two preimages."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from obuild.sexp import Sexp, to_machine

__all__ = ["changed_bits", "changed_files", "root_paths"]

_MOST = 10
"""Files that are named; of the others there is the number."""

_WORDS = {"File": "a file", "Symlink": "a link", "Dir": "a folder"}

_Node = tuple[str, tuple[str, ...]]
"""A node of a manifest without its items: its kind, and the atoms after its path."""


def root_paths(manifests: Sexp) -> list[str]:
    """The paths of the sources, in their order."""
    return [path for path, _, _ in map(_read, manifests) if path is not None]


def changed_files(
    old: Sexp, new: Sexp, runnable_before: Collection[str], runnable_now: Collection[str]
) -> list[str]:
    """A line for each file, link or folder that is another, by their paths; at most
    ``_MOST``, then how many more. ``old`` and ``new`` are lists of manifests, the others the
    paths of files with an x bit. A folder that came or went is one line with all that is in
    it. Linear in the number of files, but for sorting those that changed.
    """
    before, after = _flatten(old), _flatten(new)
    lines = dict(_appeared(after, before, "added"))
    for path, line in _appeared(before, after, "removed"):
        lines[path] = line
    for path, node in after.items():
        if path in before:
            words = _changes(before[path], node)
            if node[0] == before[path][0] == "File":
                words += _bit(path in runnable_before, path in runnable_now)
            if words:
                lines[path] = ", ".join(words)
    return _named(lines)


def changed_bits(runnable_before: Collection[str], runnable_now: Collection[str]) -> list[str]:
    """The same for files of which nothing but the x bits may be others."""
    lines = {}
    for path in {*runnable_before} ^ {*runnable_now}:
        (lines[path],) = _bit(path in runnable_before, path in runnable_now)
    return _named(lines)


def _bit(before: bool, now: bool) -> list[str]:
    if before == now:
        return []
    return ["now executable" if now else "no longer executable"]


def _named(lines: dict[str, str]) -> list[str]:
    shown = [f"{path or '.'}: {lines[path]}" for path in sorted(lines)[:_MOST]]
    more = len(lines) - len(shown)
    return shown + ([f"and {more} more file{'s' if more > 1 else ''}"] if more else [])


def _appeared(
    there: dict[str, _Node], missing: dict[str, _Node], word: str
) -> Iterator[tuple[str, str]]:
    """The paths that stand in the one only, without those in a folder that does, too."""
    folder, prefix, count = None, "", 0
    for path, (kind, _) in there.items():
        if folder is not None and path.startswith(prefix):
            count += kind != "Dir"
            continue
        if folder is not None:
            yield folder, _folder(word, count)
            folder = None
        if path in missing:
            continue
        if kind == "Dir":
            folder, prefix, count = path, f"{path}/" if path else "", 0
        else:
            yield path, word if kind == "File" else f"link {word}"
    if folder is not None:
        yield folder, _folder(word, count)


def _folder(word: str, count: int) -> str:
    return (
        f"folder {word} with {count} file{'' if count == 1 else 's'}"
        if count
        else (f"empty folder {word}")
    )


def _changes(old: _Node, new: _Node) -> list[str]:
    (kind, before), (kind_now, after) = old, new
    if kind != kind_now:
        target = f" to {after[0]}" if kind_now == "Symlink" and after else ""
        return [f"now {_WORDS[kind_now]}{target}, was {_WORDS[kind]}"]
    words = []
    own = 0 if kind == "Dir" else 1  # atoms that are its content; what follows are attributes
    if before[:own] != after[:own]:
        words.append("content" if kind == "File" else f"link target {before[0]} → {after[0]}")
    if before[own:] != after[own:]:
        words.append("mode or owner")
    return words


def _flatten(manifests: Sexp) -> dict[str, _Node]:
    """Every path with its node, a folder before what is in it. Not recursive: trees may be
    deeper than the stack."""
    found: dict[str, _Node] = {}
    todo = list(reversed(manifests))
    while todo:
        path, node, items = _read(todo.pop())
        if path is not None:
            found[path] = node
            todo.extend(reversed(items))
    return found


def _read(manifest: Sexp) -> tuple[str | None, _Node, tuple[Sexp, ...]]:
    """Path, node and items of ``(KIND (PATH …))``; no path for anything else."""
    # Not a match statement: this is done for every file, and those take three times as long.
    if not isinstance(manifest, tuple) or len(manifest) != 2:
        return None, ("", ()), ()
    kind, body = manifest
    if len(body) > 1 and isinstance(body, tuple) and isinstance(body[0], str):
        path, content = body[0], body[1]
        if kind == "Dir" and isinstance(content, tuple):
            return path, (kind, tuple(map(_text, body[2:]))), content
        if kind in ("File", "Symlink") and isinstance(content, str):
            return path, (str(kind), (content, *map(_text, body[2:]))), ()
    return None, ("", ()), ()


def _text(sexp: Sexp) -> str:
    return sexp if isinstance(sexp, str) else to_machine(sexp)
