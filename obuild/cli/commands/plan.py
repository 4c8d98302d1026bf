"""Show every step of a build with its key, as far as it is known without running anything.

No store and no engine is asked: this is what follows from the script, the context, the
secrets and the options alone.
"""

from __future__ import annotations

import argparse
import os
import sys

from obuild.cli.arguments import (
    add_key_options,
    add_script,
    add_store,
    key_options,
    script_arguments,
    secrets,
    store_path,
)
from obuild.cli.failure import colors, draw
from obuild.cli.script import load
from obuild.context import BuildContext, NoDigestCache
from obuild.executor.inputs import Inputs
from obuild.executor.plan import Plan, plan
from obuild.platforms import LINUX, WINDOWS
from obuild.source import readable

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild plan simple.spec             a line a step
  obuild plan simple.spec src --json  for programs

A key is missing where it depends on a step's result, or on a digest that is found when the
build runs; the reason stands in its place."""


def register(parser: argparse.ArgumentParser) -> None:
    add_script(parser)
    parser.add_argument(
        "--os",
        choices=["linux", "windows"],
        default="linux",
        help="the guests' system, which decides the first workdir, user and shell",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--obuilder-keys", action="store_true", help="keys as OBuilder has them")
    add_store(parser)
    add_key_options(parser)


def run(arguments: argparse.Namespace) -> int:
    store_path(arguments.store)  # refuses a kind of store that there is not; no store is read
    file, context = script_arguments(arguments)
    script = load(file, context)
    options = key_options(arguments)
    inputs = Inputs(
        lambda: BuildContext(script.context, NoDigestCache(), cwd=os.getcwd()),
        secrets(arguments.secret),
        options,
    )
    found = plan(script.build, inputs, WINDOWS if arguments.os == "windows" else LINUX)
    if arguments.json:
        import json

        print(json.dumps(_object(found)))
    else:
        _print(found)
    if found.error is None:
        return 0
    draw(found.error, sys.stderr)
    return found.error.exit_code


def _object(found: Plan) -> dict[str, object]:
    return {
        "steps": [
            {
                "within": [readable(name) for name in step.within],
                "kind": step.kind,
                "title": readable(step.title),
                "key": step.key,
                "reason": step.reason and readable(step.reason),
            }
            for step in found.steps
        ],
        "target": found.target,
        "error": readable(found.error.message) if found.error else None,
    }


def _print(found: Plan) -> None:
    color = colors(sys.stdout)
    dim, reset = ("\x1b[2m", "\x1b[0m") if color else ("", "")
    for step in found.steps:
        stage = f"[{'/'.join(step.within)}] " if step.within else ""
        print(f"{dim}{step.key or '(not known)':64}{reset}  {readable(stage + step.title)}")
        if step.reason:
            print(f"{'':66}{dim}{readable(step.reason)}{reset}")
