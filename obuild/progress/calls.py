"""A call of the engine as a line: for a shell, or as OBuilder logs it."""

from __future__ import annotations

from obuild.events import EngineCalled
from obuild.source import readable

__all__ = ["log_line", "shell_line"]


def shell_line(call: EngineCalled) -> str:
    """The command, quoted for a POSIX shell, and a comment; where no command does it the
    comment alone. Empty for an answer. Bytes that are not UTF-8 are shown as U+FFFD."""
    parts = [f"# {call.note}"] if call.note else []
    if call.words:
        from shlex import join  # loads as long as the whole display

        parts.insert(0, join(call.words))
    return readable("  ".join(parts))


def log_line(call: EngineCalled) -> str:
    """What OBuilder logs of the same command: ``[INFO] Exec "docker" …``, with nothing escaped
    in the quotes. A call that OBuilder does not make is told in other words."""
    if call.answer:
        return readable(call.answer)
    if call.note:
        return f"obuild: [INFO] {shell_line(call)}"
    words = " ".join(f'"{word}"' for word in call.words)
    return readable(f"obuild: [INFO] Exec {words}")
