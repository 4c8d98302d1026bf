"""What is otherwise for Windows guests: limits, users, paths."""

from __future__ import annotations

import re

from obuild.engine import RunCommand
from obuild.errors import BuildError
from obuild.ir.ops import UnixUser
from obuild.source import decode, encode
from obuild.values import replace

__all__ = ["ISOLATION", "check_name", "drive_path", "fitted"]

ISOLATION = "hyperv"
"""OBuilder's choice where the user makes none: more effective isolation, more stable."""

_DRIVE = re.compile(r"([A-Za-z]):")
_IMPOSSIBLE = re.compile(rb'[\x01-\x1f\\:*?"<>|]')
"""Windows documentation, "Naming Files, Paths, and Namespaces"."""


def fitted(action: RunCommand) -> RunCommand:
    """The run as a Windows daemon can do it. Raises ``BuildError`` for a user of Linux.

    ``default`` of the isolations is the daemon's own choice, and is not named.
    """
    user = action.step.user
    if isinstance(user, UnixUser):
        raise BuildError(
            f"there is no user {user.uid}:{user.gid} in a Windows guest",
            hint="users have names there: (user (name ContainerAdministrator))",
        )
    asked = action.limits.isolation or ISOLATION
    isolation = None if asked == "default" else asked
    return replace(action, limits=replace(action.limits, isolation=isolation))


def drive_path(written: str) -> bytes:
    """An absolute path of a guest as its place below drive C:, slashes between the parts.

    Both kinds of slashes separate; ``..`` goes up. Raises ``BuildError`` for another drive.
    """
    drive = _DRIVE.match(written)
    if drive and drive[1] not in "cC":
        raise BuildError(
            f"cannot copy to {written}: a container's own drive is C:",
            hint="what is on other drives is mounted, and is not kept in a snapshot",
        )
    parts: list[str] = []
    for part in written[drive.end() if drive else 0 :].replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    path = encode("/".join(parts))
    check_name(path)
    return path


def check_name(path: bytes) -> None:
    """Raises ``BuildError`` for a path, slashes between its parts, that Windows cannot have:
    what Cygwin would take for a part of a path, or store under another name."""
    for part in path.split(b"/"):
        if _IMPOSSIBLE.search(part) or (part.strip(b".") and part[-1:] in (b" ", b".")):
            raise BuildError(
                f"no file of a Windows guest can be called {decode(part)!r}",
                hint="leave it out of the copy, or give it another name",
            )
