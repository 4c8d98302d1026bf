"""Guest platforms as data: what a step starts from where a spec says nothing.

The platform is the guest's and comes with the base image. Nothing outside this module may
ask which system obuild itself runs on.
"""

from __future__ import annotations

from obuild.values import Value

__all__ = ["LINUX", "WINDOWS", "Platform", "by_os"]


class Platform(Value):
    """What OBuilder assumes of a guest (its ``lib/build.ml``, ``Context.v``)."""

    os: str
    workdir: str
    shell: tuple[str, ...]
    shell_of_empty: tuple[str, ...]
    user_name: str | None

    def is_absolute(self, path: str) -> bool:
        """Whether ``path`` stands by itself, without a workdir before it."""
        if path.startswith("/"):
            return True
        if self.os != "windows":
            return False
        return path.startswith("\\") or (len(path) > 1 and path[0].isalpha() and path[1] == ":")


LINUX = Platform("linux", "/", ("/usr/bin/env", "bash", "-c"), ("/bin/sh", "-c"), None)
WINDOWS = Platform(
    "windows", "C:/", ("cmd", "/S", "/C"), ("cmd", "/S", "/C"), "ContainerAdministrator"
)


def by_os(name: str) -> Platform:
    """The platform of an image whose configuration says ``os: name``."""
    return WINDOWS if name.lower() == "windows" else LINUX
