"""What is different between two steps, in the user's words, from their kept preimages.

The words name what stands in the user's files: a path of the context, a variable, a word of
a command. A kept preimage holds no value of a secret, so none can be said.
"""

from __future__ import annotations

from collections.abc import Mapping

from obuild.keys.files import changed_bits, changed_files, root_paths
from obuild.keys.reading import Fields, atom, read_fields, shorten, written
from obuild.keys.runs import changed_run, changed_user
from obuild.sexp import Sexp

__all__ = ["PARENT", "changed_bits", "differences"]

PARENT = "the step before it"
"""The difference that a step has because it stands on another snapshot; always the last."""

_DIGEST = 19
"""Characters of a digest that are shown: its algorithm and some twelve digits."""

_KINDS = {"cmd": "a run", "op": "a copy", "image": "a base", "seal": "a seal"}


def differences(
    old: str,
    new: str,
    *,
    secrets: Mapping[str, str] | None = None,
    executables: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> tuple[str, ...]:
    """What ``new`` has other than ``old``, a line each; both are kept preimages. None of
    equal ones.

    ``secrets`` are the ids of the new step's secrets by their targets. ``executables`` are
    the paths with an x bit of both, for preimages of OBuilder's kind, which do not name them.
    ``PARENT`` stands at the end if the step before is another.
    """
    if old == new:
        return ()
    before, after = read_fields(old), read_fields(new)
    if before is None or after is None:
        return ("what was recorded of it cannot be read",)
    kind, kind_now = _kind(before), _kind(after)
    if kind != kind_now:
        return (f"it is {kind_now} now, and was {kind}",)
    match kind_now:
        case "a base":
            found = _of_bases(before, after)
        case "a copy":
            found = _of_copies(before, after, executables)
        case _:
            found = changed_run(before, after, secrets or {})
    found += _of_others(before, after)
    if kind != "a seal" and before.get("base") != after.get("base"):
        found.append(PARENT)
    found = found or ["the way in which its inputs are written"]
    return tuple(reason.replace("\n", " ") for reason in found)


def _kind(fields: Fields) -> str:
    return next((kind for name, kind in _KINDS.items() if name in fields), "a step")


# Bases


def _of_bases(old: Fields, new: Fields) -> list[str]:
    (name, digest), (name_now, digest_now) = _image(old), _image(new)
    found = []
    if name != name_now:
        found.append(f"base: {name} → {name_now}")
    elif digest is None and digest_now is not None:
        found.append(f"base: {name} counts by its digest now, {_digest(digest_now)}")
    elif digest is not None and digest_now is None:
        found.append(f"base: {name} counts by its name now, and not by its digest")
    elif digest is not None and digest_now is not None and digest != digest_now:
        moved = f"{_digest(digest)} → {_digest(digest_now)}"
        if "@" in atom(old, "image"):
            found.append(f"base: the pinned digest of {name} moved, {moved}")
        else:
            found.append(f"base: {name} was rebuilt, {moved}")
    if old.get("platform") != new.get("platform"):
        platform, platform_now = atom(old, "platform"), atom(new, "platform")
        found.append(f"platform: {platform or 'not asked for'} → {platform_now or 'not asked for'}")
    return found


def _image(fields: Fields) -> tuple[str, str | None]:
    """The name, and the digest, which stands in the name or beside it."""
    name, _, digest = atom(fields, "image").partition("@")
    return name, atom(fields, "digest") or digest or None


def _digest(digest: str) -> str:
    return digest if len(digest) <= _DIGEST else f"{digest[:_DIGEST]}…"


# Copies


def _of_copies(
    old: Fields, new: Fields, executables: tuple[tuple[str, ...], tuple[str, ...]]
) -> list[str]:
    (manifests, destination), (manifests_now, destination_now) = _copied(old), _copied(new)
    bits, bits_now = old.get("executable", ()), new.get("executable", ())
    runnable = {*map(written, bits)} or {*executables[0]}
    runnable_now = {*map(written, bits_now)} or {*executables[1]}
    found = changed_files(manifests, manifests_now, runnable, runnable_now)
    if runnable and runnable_now and bool(bits) != bool(bits_now):
        found.append(f"executable bits: {'now' if bits_now else 'no longer'} part of the key")
    sources, sources_now = root_paths(manifests), root_paths(manifests_now)
    if sources != sources_now:
        if sorted(sources) == sorted(sources_now):
            found.append("the order of the sources")
        elif not found:
            found.append(f"sources: {_list(sources)} → {_list(sources_now)}")
    if destination != destination_now:
        found.append(f"destination: {destination} → {destination_now}")
    return found + changed_user(old, new)


def _copied(fields: Fields) -> tuple[Sexp, str]:
    """The manifests and the destination of a copy."""
    match fields.get("op"):
        case ("Copy_items", (tuple() as manifests, str(destination))):
            return manifests, destination
        case ("Copy_item", (manifest, str(destination))):
            return (manifest,), destination
    return (), ""


# All


_KNOWN = frozenset(
    {
        *("base", "image", "name", "digest", "platform", "op", "executable", "user"),
        *("env", "cmd", "workdir", "shell", "network", "mount_secrets"),
    }
)


def _of_others(old: Fields, new: Fields) -> list[str]:
    """Fields that are known here by their names only."""
    found = []
    for name in {**old, **new}:
        if name not in _KNOWN and written(old.get(name)) != written(new.get(name)):
            before, after = shorten(written(old.get(name))), shorten(written(new.get(name)))
            found.append(f"{name}: {before} → {after}")
    return found


def _list(paths: list[str]) -> str:
    return shorten(", ".join(path or "." for path in paths))
