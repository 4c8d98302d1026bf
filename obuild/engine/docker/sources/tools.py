"""How files are copied out of a snapshot by the tools of its own guest: what is where there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from obuild.engine.configs import Config
from obuild.engine.docker.mounts import host_config, volume_mount
from obuild.resources import read
from obuild.source import encode
from obuild.values import Value

__all__ = ["Tools", "linux_tools", "serving_config", "shown"]

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Tools(Value):
    """Places and programs in a guest.

    ``bash``: the argv of a Bash that reads no start files. ``root``: the folder from which
    sources count; ``separator`` stands between the parts of a path. ``libexec``: where the
    volume with the programs of obuild is mounted. ``scratch``: a folder in memory.
    """

    bash: tuple[str, ...]
    root: str
    separator: str
    libexec: str
    scratch: str
    drives: str = ""

    def link(self, target: str) -> bytes:
        """The target of a link as tar tells it, where the manifest says ``target``. Below the
        folder ``drives`` Cygwin has what Windows calls C:/, and so on."""
        if self.drives and target[1:3] == ":/" and target[0].isalpha():
            target = f"{self.drives}/{target[0].lower()}{target[2:]}"
        return encode(target)


def linux_tools() -> Tools:
    """Mount points have names that no image can know, so nothing can be planted there."""
    token = token_hex(8)
    bash = ("bash", "--norc", "-p")
    return Tools(bash, "/", "/", f"/.obuild-libexec-{token}", f"/.obuild-scratch-{token}")


def serving_config(
    image: str, config: Config, tools: Tools, volume: str, program: str
) -> dict[str, Any]:
    """A container that serves (``libexec/serve.bash``) and can do nothing else.

    ``config`` is the image's: not one variable of its environment is left, for some make Bash,
    tar or the dynamic linker run what the image wants. ``program`` is the name of the script
    in ``volume`` that makes manifests.
    """
    script = read("libexec", "serve.bash").decode()
    places = (f"{tools.libexec}/{program}", tools.root, tools.scratch)
    host: Mapping[str, Any] = {
        **host_config("none"),
        "ReadonlyRootfs": True,
        "Tmpfs": {tools.scratch: "mode=0700"},
        "CapDrop": ["ALL"],
        "CapAdd": ["DAC_OVERRIDE"],
        "SecurityOpt": ["no-new-privileges"],
        "Mounts": [volume_mount(volume, tools.libexec, read_only=True)],
    }
    return {
        "Image": image,
        "Entrypoint": [*tools.bash, "-c", script, "serve.bash", *places],
        "Cmd": [],
        "Env": [*_bare(config.get("Env") or ()), _PATH],
        "User": "0:0",
        "WorkingDir": "/",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the script's name in place of the script, for people to read."""
    script = read("libexec", "serve.bash").decode()
    words = ("<libexec/serve.bash>" if word == script else word for word in config["Entrypoint"])
    return {**config, "Entrypoint": list(words)}


def _bare(env: Sequence[str]) -> list[str]:
    """Names without ``=``: what the image has of these names is then dropped (tried on 20.10
    and 28.5)."""
    names = (assignment.partition("=")[0] for assignment in env)
    return [name for name in names if name and name != "PATH"]
