"""What changed in a run, from the fields of two preimages."""

from __future__ import annotations

from collections.abc import Mapping

from obuild.keys.reading import Fields, atom, join_words, pairs, shorten
from obuild.sexp import Sexp

__all__ = ["changed_run", "changed_user"]

_SECRETS = "/run/secrets/"
"""Where secrets are by custom, under their ids."""


def changed_run(old: Fields, new: Fields, ids: Mapping[str, str]) -> list[str]:
    """What is another in a run, but for the snapshot that it stands on. ``ids`` are the ids
    of the new one's secrets by their targets."""
    found = _env(pairs(old.get("env")), pairs(new.get("env")))
    command, command_now = atom(old, "cmd"), atom(new, "cmd")
    if command != command_now:
        found.append(f"command: {_command(command, command_now)}")
    if atom(old, "workdir") != atom(new, "workdir"):
        found.append(f"workdir: {atom(old, 'workdir')} → {atom(new, 'workdir')}")
    found += changed_user(old, new)
    for name, nothing in (("shell", "none"), ("network", "not named")):
        if old.get(name) != new.get(name):
            words, words_now = join_words(old.get(name)), join_words(new.get(name))
            found.append(f"{name}: {words or nothing} → {words_now or nothing}")
    return found + _secrets(old.get("mount_secrets"), new.get("mount_secrets"), ids)


def _env(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> list[str]:
    """In the order of the spec: preimages have the latest first."""
    before, after = dict(reversed(old)), dict(reversed(new))
    found = []
    for name, value in after.items():
        if name not in before:
            found.append(f"env {name}: added, {shorten(value)}")
        elif before[name] != value:
            found.append(f"env {name}: {shorten(before[name])} → {shorten(value)}")
    found += [f"env {name}: removed" for name in before if name not in after]
    return found or (["env: another order"] if old != new else [])


def _command(old: str, new: str) -> str:
    """The words that differ, with one before them that does not."""
    before, after = old.split(), new.split()
    if before == after:
        return "only its blanks"
    start = 0
    while before[start : start + 1] == after[start : start + 1]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if start == 0 and end and (len(before) == end or len(after) == end):
        end -= 1  # words before the first: show what they stand before
    start = max(0, start - 1)
    removed = " ".join(before[start : len(before) - end])
    added = " ".join(after[start : len(after) - end])
    return f"{shorten(removed)} → {shorten(added)}"


def _secrets(old: Sexp | None, new: Sexp | None, ids: Mapping[str, str]) -> list[str]:
    if old == new:
        return []
    before, after = _mounted(old), _mounted(new)
    found = []
    for target, value in after.items():
        if target not in before:
            found.append(f"secret {_secret(target, ids)}: added")
        elif before[target] != value:
            found.append(f"secret {_secret(target, ids)}: another value")
    found += [f"secret {_secret(target, {})}: removed" for target in before if target not in after]
    return found or ["the order of the secrets"]


def _mounted(secrets: Sexp | None) -> dict[str, str]:
    """What stands for the values of secrets, by their targets, in the order of the spec."""
    found = {}
    for secret in reversed(secrets or ()):
        fields = dict(pairs(secret))
        found[fields.get("target", "")] = fields.get("value", "")
    return found


def _secret(target: str, ids: Mapping[str, str]) -> str:
    if target in ids:
        return ids[target]
    name = target.removeprefix(_SECRETS)
    return name if name != target and "/" not in name else f"at {target}"


def changed_user(old: Fields, new: Fields) -> list[str]:
    """The user, who is in the preimages of runs and copies."""
    if old.get("user") == new.get("user"):
        return []
    return [f"user: {_owner(old.get('user'))} → {_owner(new.get('user'))}"]


def _owner(user: Sexp | None) -> str:
    # A user by name is one field: ((name N)).
    return ":".join(value for _, value in pairs(user))
