"""The nearest ``docker`` command for each call, so that a user can repeat it by hand.

Where OBuilder makes the same call the words are those of its command. Values of secrets never
come here (they are in no call that is shown).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from obuild.events import EngineCalled

__all__ = ["answer", "commit_line", "line", "memory", "mount_words", "note", "run_line"]


def line(*words: str, note: str = "") -> EngineCalled:
    """``docker`` and these words. ``note``: what it is for, if OBuilder does not do it."""
    return EngineCalled(("docker", *words), note)


def note(text: str) -> EngineCalled:
    """What no ``docker`` command does."""
    return EngineCalled((), text)


def answer(text: str) -> EngineCalled:
    """What the command that was told before would print."""
    return EngineCalled((), answer=text)


def run_line(name: str, config: Mapping[str, Any], *, removed: bool = False) -> EngineCalled:
    """Create, attach and start as one ``docker run``. ``removed``: the container goes when it
    ends."""
    host: Mapping[str, Any] = config["HostConfig"]
    words = ["run", "-i", "--name", name, *(["--rm"] if removed else [])]
    if host.get("NanoCpus"):
        words += ["--cpus", f"{host['NanoCpus'] / 1e9:f}"]
    if host.get("Isolation"):
        words += ["--isolation", host["Isolation"]]
    if config.get("Hostname"):
        words += ["--hostname", config["Hostname"]]
    if config.get("WorkingDir"):
        words += ["--workdir", config["WorkingDir"]]
    entrypoint: Sequence[str] = config["Entrypoint"]
    words += ["--entrypoint", entrypoint[0]]
    if host.get("Memory"):
        words += ["--memory", memory(host["Memory"])]
    if config.get("User"):
        words += ["--user", config["User"]]
    for assignment in config.get("Env") or ():
        words += ["--env", assignment]
    words += mount_words(host.get("Mounts") or ())
    words += ["--network", host.get("NetworkMode") or "default"]
    return line(*words, config["Image"], *entrypoint[1:])


def mount_words(mounts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Mounts as the Engine API writes them, as options of ``docker run``."""
    words: list[str] = []
    for mount in mounts:
        kind, target = str(mount["Type"]).lower(), mount["Target"]
        source = f",src={mount['Source']}" if mount.get("Source") else ""
        readonly = ",readonly" if mount.get("ReadOnly") else ""
        part = (mount.get("VolumeOptions") or {}).get("Subpath")
        subpath = f",volume-subpath={part}" if part else ""
        words += ["--mount", f"type={kind}{source},dst={target}{readonly}{subpath}"]
    return words


def commit_line(container: str, image: str, body: Mapping[str, Any]) -> EngineCalled:
    """A commit. ``--change`` cannot empty a list, which the body of the call can; nor is
    obuild's mark in the words, so what is made by hand bears none."""
    import json

    changes = []
    for field, word in (("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")):
        if body.get(field):
            value = json.dumps(list(body[field]), ensure_ascii=False, separators=(",", ":"))
            changes.append(f"--change={word} {value}")
    return line("commit", *changes, "--", container, image)


def memory(size: int) -> str:
    """Bytes in the largest unit of Docker's that divides them: 4g, 512m, 1000."""
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
