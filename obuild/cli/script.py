"""Finding and reading the build script, and the context that goes with it."""

from __future__ import annotations

import os
import re
import sys

from obuild.errors import ContextError, ScriptError, UsageError
from obuild.frontend.obuilder import read_spec
from obuild.ir.ops import Build
from obuild.source import Text
from obuild.values import Value

__all__ = ["Script", "load", "read_text"]

# Comments of both languages may stand before a spec's first parenthesis.
_LEADING = re.compile(rb"\A(?:[ \t\r\n\f]|;[^\n]*|#(?![|;])[^\n]*\n|#\|.*?\|#|#;)*", re.DOTALL)


class Script(Value):
    """A build script that was read. ``path`` is real, for records; ``context`` a folder."""

    build: Build
    text: Text
    path: str
    context: str


def load(file: str, context: str | None) -> Script:
    """Read ``file``: a spec, a folder with one, or ``-`` for standard input.

    Raises ``UsageError`` for a file that cannot be read, ``ScriptError`` for what it says,
    ``ContextError`` for a context that is no folder.
    """
    if context is not None and not os.path.isdir(context):
        missing = "there is no folder" if not os.path.exists(context) else "is not a folder:"
        raise ContextError(
            f"the build context: {missing} {context}",
            hint="the context is the folder that the copies are from",
        )
    text = read_text(file)
    folder = os.path.dirname(text.name) if file != "-" else ""
    build = read_spec(text)
    return Script(build, text, _real(text.name), context or folder or ".")


def _real(name: str) -> str:
    try:
        return os.path.realpath(name)
    except FileNotFoundError:
        raise UsageError(
            "the current folder is gone", hint="go to a folder that is there, or give whole paths"
        ) from None


def read_text(file: str) -> Text:
    """The text of a spec. Raises ``UsageError``, or ``ScriptError`` for another language."""
    name = _in_folder(file) if file != "-" and os.path.isdir(file) else file
    try:
        if name == "-":
            data = sys.stdin.buffer.read()
            name = "<stdin>"
        else:
            with open(name, "rb") as stream:
                data = stream.read()
    except OSError as error:
        raise UsageError(
            f"cannot read the build script {name}: {error.strerror}", hint=_elsewhere(name)
        ) from None
    _refuse_dockerfile(name, data)
    return Text(name, data)


def _elsewhere(name: str) -> str | None:
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    specs = sorted(entry for entry in os.listdir(folder) if entry.endswith(".spec"))
    return f"the specs in {folder}: {', '.join(specs[:5])}" if specs else None


def _in_folder(folder: str) -> str:
    """A folder means its Dockerfile, else its Containerfile, else its only spec."""
    for name in ("Dockerfile", "Containerfile"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    specs = sorted(name for name in os.listdir(folder) if name.endswith(".spec"))
    if len(specs) == 1:
        return os.path.join(folder, specs[0])
    raise UsageError(
        f"{folder} has {'no' if not specs else 'more than one'} build script",
        hint=f"name one of {', '.join(specs[:5])}" if specs else "a spec's name ends in .spec",
    )


def _refuse_dockerfile(name: str, data: bytes) -> None:
    leading = _LEADING.match(data)
    rest = data[leading.end() if leading else 0 :]
    if re.match(rb"(?i)(FROM|ARG)[ \t]", rest):
        raise ScriptError(
            f"{name} is a Dockerfile; this version of obuild reads OBuilder specs",
            hint='write it as a spec: ((from IMAGE) (run (shell "COMMAND")))',
        )
