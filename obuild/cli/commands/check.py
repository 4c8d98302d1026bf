"""Find errors and doubtful places in a build script. Nothing is run, no engine is asked."""

from __future__ import annotations

import argparse
import json
import sys

from obuild.cli.failure import draw
from obuild.cli.script import read_text
from obuild.errors import ObuildError, ScriptError
from obuild.frontend.obuilder import read_spec
from obuild.frontend.obuilder.doubts import doubts

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild check simple.spec
  obuild check *.spec --json

exit status: 0 clean, 1 warnings, 2 errors"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a spec, a folder with one, or -")
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(arguments: argparse.Namespace) -> int:
    worst = 0
    found: list[tuple[str, str, ObuildError]] = []
    for file in arguments.files:
        for severity, error in _check(file):
            worst = max(worst, 2 if severity == "error" else 1)
            found.append((file, severity, error))
    if arguments.json:
        json.dump([_object(*one) for one in found], sys.stdout, indent=1)
        print()
    else:
        for _, severity, error in found:
            draw(error, sys.stderr, severity)
    return worst


def _check(file: str) -> list[tuple[str, ObuildError]]:
    text = read_text(file)
    try:
        build = read_spec(text)
    except ScriptError as error:
        return [("error", error)]
    return [("warning", doubt) for doubt in doubts(build)]


def _object(file: str, severity: str, error: ObuildError) -> dict[str, object]:
    place = error.place
    return {
        "severity": severity,
        "file": place.text.name if place else file,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "message": error.message.encode("utf-8", "replace").decode(),
        "hint": error.hint and error.hint.encode("utf-8", "replace").decode(),
    }
