"""Users of a user namespace: which ids a user may have in it, and giving it them.

Rules: user_namespaces(7), subuid(5), newuidmap(1). Inside, the user is root (0); the ids from 1
on are the user's subordinate ones. An id that has none there cannot own a file, and a base image
needs the ids up to 65534; so fewer than 65,535 subordinate ids are refused.
"""

from __future__ import annotations

import os
import subprocess

from obuild.errors import EngineUnavailable
from obuild.values import Value

__all__ = ["Mapping", "Range", "apply", "check_kernel", "find_mapping"]

_NEEDED = 65_535


class Range(Value):
    """``count`` ids from ``outside`` on are those from ``inside`` on in the namespace."""

    inside: int
    outside: int
    count: int


class Mapping(Value):
    """The maps of a namespace, and the programs that write them."""

    users: tuple[Range, ...]
    groups: tuple[Range, ...]
    newuidmap: str
    newgidmap: str


def check_kernel(settings: str = "/proc/sys") -> None:
    """Raises ``EngineUnavailable`` if the kernel lets no user make a user namespace.

    ``settings``: the folder of the kernel's settings.
    """
    unprivileged = "kernel/unprivileged_userns_clone"  # Debian's and Arch's own
    apparmor = "kernel/apparmor_restrict_unprivileged_userns"  # Ubuntu from 23.10 on
    if not os.path.isdir(f"{settings}/user"):
        raise EngineUnavailable(
            "this kernel has no user namespaces, which steps need that are not run by root",
            hint="run obuild as root, or use a Docker engine: --store docker:PATH",
        )
    if _setting(settings, "user/max_user_namespaces") == 0:
        _forbidden("user.max_user_namespaces is 0", "user.max_user_namespaces=10000")
    if _setting(settings, unprivileged) == 0:
        _forbidden("kernel.unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1")
    if _setting(settings, apparmor) == 1:
        name = "kernel.apparmor_restrict_unprivileged_userns"
        _forbidden(f"{name} is 1", f"{name}=0")


def _forbidden(what: str, setting: str) -> None:
    raise EngineUnavailable(
        f"users may not make user namespaces here: {what}",
        hint=f"as root: `sysctl -w {setting}`, and the same line in /etc/sysctl.d/ to keep it;"
        " or run obuild as root",
    )


def _setting(settings: str, name: str) -> int | None:
    try:
        with open(f"{settings}/{name}", encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def find_mapping(uid: int, gid: int, name: str, *, search: str, folder: str = "/etc") -> Mapping:
    """The map of a user. ``name`` is empty for a user who has none; ``search``: the PATH;
    ``folder``: where ``subuid`` and ``subgid`` are.

    Raises ``EngineUnavailable``: the programs are missing or may not do it, or there are too
    few subordinate ids. Its hint has the command that mends it.
    """
    programs = [_program(each, search) for each in ("newuidmap", "newgidmap")]
    users = _ranges(f"{folder}/subuid", uid, name, "--add-subuids")
    groups = _ranges(f"{folder}/subgid", uid, name, "--add-subgids")
    return Mapping(
        (Range(0, uid, 1), *users), (Range(0, gid, 1), *groups), programs[0], programs[1]
    )


def _program(name: str, search: str) -> str:
    import shutil

    path = shutil.which(name, path=search)
    if path is None:
        raise EngineUnavailable(
            f"{name} is not on the PATH; users other than root need it",
            hint="Debian, Ubuntu `apt-get install uidmap`, Fedora `dnf install shadow-utils`,"
            " Alpine `apk add shadow-subids`; or run obuild as root",
        )
    status = os.stat(path)
    if status.st_uid == 0 and status.st_mode & 0o4000:
        return path
    try:
        os.getxattr(path, "security.capability")
    except OSError:
        package = "`apt-get install --reinstall uidmap`, `dnf reinstall shadow-utils`"
        raise EngineUnavailable(
            f"{path} has no right to map ids: it lacks its set-user-id bit, or capability",
            hint=f"install it again: {package}; or `chmod u+s {path}`",
        ) from None
    return path


def _ranges(path: str, uid: int, name: str, option: str) -> tuple[Range, ...]:
    found: list[Range] = []
    inside = 1
    for outside, count in _lines(path, {str(uid), name} - {""}):
        found.append(Range(inside, outside, count))
        inside += count
    if inside <= _NEEDED:
        have = f"only {inside - 1} subordinate ids" if found else "no subordinate ids"
        user = name or f"#{uid}"
        raise EngineUnavailable(
            f"{user} has {have} in {path}, and needs {_NEEDED + 1}",
            hint=f"as root: `usermod {option} 100000-165535 {name or 'NAME'}`"
            " (a range that no other user has)",
        )
    return tuple(found)


def _lines(path: str, owners: set[str]) -> list[tuple[int, int]]:
    """First id and count of each line of an owner; a line that is none is passed over, as the
    programs do."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        return []
    found = []
    for fields in lines:
        if len(fields) == 3 and fields[0] in owners and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[1]), int(fields[2])))
    return [(first, count) for first, count in found if count]


def apply(mapping: Mapping, pid: int) -> None:
    """Give the user namespace of the process ``pid``, which has none yet, its maps.

    Raises ``EngineUnavailable`` with what the programs say.
    """
    # Groups first: the process becomes root when it has users.
    _write(mapping.newgidmap, pid, mapping.groups)
    _write(mapping.newuidmap, pid, mapping.users)


def _write(program: str, pid: int, ranges: tuple[Range, ...]) -> None:
    numbers = [str(n) for each in ranges for n in (each.inside, each.outside, each.count)]
    done = subprocess.run(
        [program, str(pid), *numbers],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip() or f"it ended with status {done.returncode}"
        raise EngineUnavailable(
            f"the ids of a user namespace cannot be set: {said}",
            hint="see /etc/subuid and /etc/subgid; in a container, it must not have"
            " no-new-privileges, and needs the ranges itself",
        )
