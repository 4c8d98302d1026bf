"""What a run asks of its caches: targets and options, checked.

The options are those of BuildKit's ``RUN --mount=type=cache`` (Dockerfile reference): sharing,
mode, uid and gid. OBuilder knows none of them; a cache without ``sharing`` is its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from obuild.errors import BuildError, nearest
from obuild.ir.ops import Cache, UnixUser, User
from obuild.ir.steps import RunStep
from obuild.platforms import Platform
from obuild.values import Value

__all__ = [
    "SHARINGS",
    "CacheUse",
    "check_target",
    "read_caches",
    "read_number",
    "read_options",
]

SHARINGS = ("shared", "private", "locked")

_KNOWN = ["sharing", "mode", "uid", "gid"]
_MODE = 0o755
_MAX_ID = 2**31 - 1


class CacheUse(Value):
    """A cache and where it is mounted. ``mode`` and the ids are None unless asked for.

    ``sharing`` is empty for OBuilder's kind; else ``attributes`` are uid, gid and mode where
    one of them was asked for: as with BuildKit, that is another cache than one without.
    """

    id: str
    sharing: str
    attributes: tuple[int, int, int] | None
    target: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    def owner(self, user: User) -> UnixUser | None:
        """To whom the root of OBuilder's kind is given in a run of ``user``; None: it stays
        as it is."""
        if isinstance(user, UnixUser):
            uid = user.uid if self.uid is None else self.uid
            return UnixUser(uid, user.gid if self.gid is None else self.gid)
        if self.uid is None and self.gid is None:
            return None
        return UnixUser(self.uid or 0, self.gid or 0)


def read_caches(step: RunStep, platform: Platform) -> list[CacheUse]:
    """Raises ``BuildError`` for what cannot be meant."""
    uses = [_read(cache, platform) for cache in step.caches]
    targets = [use.target for use in uses]
    for use in uses:
        if targets.count(use.target) > 1:
            raise BuildError(
                f"two caches cannot both be at {use.target}", hint="give each its own target"
            )
    return uses


def _read(cache: Cache, platform: Platform) -> CacheUse:
    what = f"the cache {cache.id}"
    target = check_target(cache.target, what, platform)
    options = read_options(cache.options, what, _KNOWN)
    sharing = options.get("sharing", "")
    if "sharing" in options and sharing not in SHARINGS:
        raise BuildError(
            f"{what} has the sharing {sharing!r}", hint=f"it can be {', '.join(SHARINGS)}"
        )
    mode = read_number(options, "mode", what, 0o7777, base=8)
    uid = read_number(options, "uid", what, _MAX_ID)
    gid = read_number(options, "gid", what, _MAX_ID)
    attributes = None
    if sharing and (mode, uid, gid) != (None, None, None):
        attributes = uid or 0, gid or 0, _MODE if mode is None else mode
    return CacheUse(cache.id, sharing, attributes, target, mode, uid, gid)


def check_target(target: str, what: str, platform: Platform) -> str:
    """The target, tidied. Raises ``BuildError`` unless it is an absolute path below the root;
    on Windows also one of a drive."""
    import posixpath

    if not platform.is_absolute(target):
        raise BuildError(
            f"the target of {what} is no absolute path: {target!r}",
            hint="write it with a / before it",
        )
    if platform.os == "windows":
        return f"C:{target}" if target[0] in "/\\" else target
    tidy = "/" + posixpath.normpath(target).strip("/")
    if tidy == "/":
        raise BuildError(f"the target of {what} is the root of the guest", hint="name a folder")
    return tidy


def read_options(
    options: Sequence[tuple[str, str]], what: str, known: list[str]
) -> Mapping[str, str]:
    """By name. Raises ``BuildError`` for one that is not ``known``, or stands twice."""
    found: dict[str, str] = {}
    for name, value in options:
        if name not in known:
            near = nearest(name, known)
            raise BuildError(
                f"{what} has an option that is not known: {name}",
                hint=f"did you mean {near}?" if near else f"known are {', '.join(known)}",
            )
        if found.setdefault(name, value) != value:
            raise BuildError(f"{what} has the option {name} twice, with different values")
    return found


def read_number(
    options: Mapping[str, str], name: str, what: str, most: int, base: int = 10
) -> int | None:
    """A number from 0 to ``most``; None if there is no such option."""
    text = options.get(name)
    if text is None:
        return None
    digits = text.removeprefix("0o") if base == 8 else text
    try:
        number = int(digits, base) if digits.isascii() and digits.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        kind = "in octal, as 0755" if base == 8 else f"from 0 to {most}"
        raise BuildError(f"{what} has the {name} {text!r}", hint=f"give a number {kind}")
    return number
