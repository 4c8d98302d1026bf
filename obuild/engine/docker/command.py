"""The nearest ``docker`` command line for each call, so that a user can repeat it by hand.

Texts only; values of secrets never come here (they are in no call that is shown).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["commit_line", "line", "memory", "note", "run_line"]


def line(*words: str) -> str:
    """``docker`` and these words, quoted for a POSIX shell; other bytes than UTF-8 are shown
    as U+FFFD."""
    from shlex import join

    return _printable(join(("docker", *words)))


def note(text: str) -> str:
    """What no ``docker`` command does, as a comment."""
    return _printable(f"# {text}")


def run_line(name: str, config: Mapping[str, Any]) -> str:
    """Create, attach and start as one ``docker run``."""
    host: Mapping[str, Any] = config["HostConfig"]
    words = ["run", "-i", "--name", name]
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
    words += ["--network", host.get("NetworkMode") or "default"]
    for assignment in config.get("Env") or ():
        words += ["--env", assignment]
    return line(*words, config["Image"], *entrypoint[1:])


def commit_line(container: str, image: str, message: str, body: Mapping[str, Any]) -> str:
    """A commit; ``--change`` cannot empty a list, which the body of the call can."""
    import json

    changes = []
    for field, word in (("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")):
        value = json.dumps(list(body.get(field) or ()), ensure_ascii=False)
        changes.append(f"--change={word} {value}")
    return line("commit", f"--message={message}", *changes, "--", container, image)


def memory(size: int) -> str:
    """Bytes in the largest unit of Docker's that divides them: 4g, 512m, 1000."""
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
