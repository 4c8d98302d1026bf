"""Tell of every step of a build whether it is stored, and if not, what changed since it was.

A step is compared with the last build of it: the same spec, stage and op, else the nearest
step on the same snapshot. Nothing is run, and no step counts as used.
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
from obuild.cli.building import open_context
from obuild.cli.engines import glance_with, image_here, snapshot_here
from obuild.cli.failure import colors, draw
from obuild.cli.script import Script, load
from obuild.context import BuildContext, NoDigestCache
from obuild.executor.explain import Explained, Explanation, Looks, explain, explain_without
from obuild.executor.inputs import Inputs
from obuild.executor.plan import Plan, PlannedStep, plan
from obuild.ir.steps import RunStep
from obuild.keys import kept
from obuild.platforms import by_os
from obuild.source import readable
from obuild.store import Store
from obuild.store.folders import DATABASE

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild explain simple.spec             a line a step, with the reasons below it
  obuild explain simple.spec src --json  for programs

"hit": the step is stored; "miss": it would be run; "unknown": its key follows from something
that is not here yet, a step's result or an image. The engine is asked which images it has; if
it does not answer, what the store remembers is told."""

_STYLES = {"hit": "\x1b[32m", "miss": "\x1b[33m", "unknown": "\x1b[2m"}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_KEY_DIGITS = 12
_LOST = "the store has no database any more: a run takes over what the engine still has"


def register(parser: argparse.ArgumentParser) -> None:
    add_script(parser)
    parser.add_argument(
        "--os",
        choices=["linux", "windows"],
        help="the guests' system (default: as the store remembers it, else linux)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--obuilder-keys", action="store_true", help="keys as OBuilder has them")
    parser.add_argument(
        "--no-stat-cache",
        action="store_true",
        help="read every file of the context again, however old it is",
    )
    add_store(parser)
    add_key_options(parser)


def run(arguments: argparse.Namespace) -> int:
    file, context = script_arguments(arguments)
    script = load(file, context)
    store = _open(store_path(arguments.store))
    try:
        found, explained = _explain(arguments, script, store)
    finally:
        if store is not None:
            store.close()
    if arguments.json:
        import json

        print(json.dumps(_object(found, explained)))
    else:
        _print(explained)
    if found.error is None:
        return 0
    draw(found.error, sys.stderr)
    return found.error.exit_code


def _open(path: str) -> Store | None:
    """The store; None if there is none yet. Raises ``StoreError`` for one that is broken."""
    database = os.path.join(path, "state", "db", DATABASE)
    missing = not os.path.lexists(path) or (os.path.isdir(path) and not os.path.lexists(database))
    return None if missing else Store.open(path, create=False)


def _explain(
    arguments: argparse.Namespace, script: Script, store: Store | None
) -> tuple[Plan, Explained]:
    options = key_options(arguments)
    given = secrets(arguments.secret)
    if store is None:

        def bare() -> BuildContext:
            return BuildContext(script.context, NoDigestCache(), cwd=os.getcwd())

        inputs = Inputs(bare, given, options)
        found = plan(script.build, inputs, by_os(arguments.os or "linux"))
        lost = os.path.isdir(store_path(arguments.store))
        return found, explain_without(found, _LOST) if lost else explain_without(found)

    def opened() -> BuildContext:
        return open_context(script.context, store, stat_cache=not arguments.no_stat_cache)

    def preimage(step: PlannedStep) -> str:
        assert step.prepared is not None, "asked for steps with a key"
        hidden = step.step.secrets if isinstance(step.step, RunStep) else ()
        # Without secrets no key is asked for: it would be made if there is none.
        return kept(step.prepared.preimage, hidden, store.secret_key() if hidden else b"")

    inputs = Inputs(opened, given, options, store.manifests)
    looks = Looks(glance_with(store.prefix), image_here, snapshot_here(store.prefix))
    platform = by_os(arguments.os or store.guest_os or "linux")
    found = plan(script.build, inputs, platform, looks.find)
    explained = explain(
        found,
        store,
        looks,
        preimage,
        spec=script.path,
        obuilder_keys=options.obuilder_keys,
    )
    return found, explained


def _object(found: Plan, explained: Explained) -> dict[str, object]:
    return {
        "steps": [
            {
                "within": [readable(name) for name in one.step.within],
                "kind": one.step.kind,
                "title": readable(one.step.title),
                "key": one.step.key,
                "verdict": one.verdict,
                "reasons": [readable(reason) for reason in one.reasons],
                "where": readable(str(one.step.place)) if one.step.place else None,
            }
            for one in explained.steps
        ],
        "target": found.target,
        "unasked": explained.unasked,
        "error": readable(found.error.message) if found.error else None,
    }


def _print(explained: Explained) -> None:
    color = colors(sys.stdout)
    dim, reset = (_DIM, _RESET) if color else ("", "")
    digits = len(str(len(explained.steps)))
    for one in explained.steps:
        style = _STYLES[one.verdict] if color else ""
        key = (one.step.key or "")[:_KEY_DIGITS]
        stage = f"[{'/'.join(one.step.within)}] " if one.step.within else ""
        title = _line(stage + one.step.title)
        start = f"{one.number:{digits}}  {style}{one.verdict:7}{reset}  "
        print(f"{start}{dim}{key:{_KEY_DIGITS}}{reset}  {title}")
        indent = " " * (digits + 13 + _KEY_DIGITS)
        for reason in one.reasons:
            print(f"{indent}{style}{_line(reason)}{reset}")
    if explained.unasked is not None:
        print(f"The engine was not asked: {_line(explained.unasked)}")
    print(_summary(explained.steps))


def _summary(steps: tuple[Explanation, ...]) -> str:
    """``4 steps: 2 are stored, 1 would be run, 1 is not known yet``"""
    kinds = ["same" if one.same else one.verdict for one in steps]
    counts = [
        (kinds.count(kind), word, words)
        for kind, word, words in (
            ("hit", "is stored", "are stored"),
            ("miss", "would be run", "would be run"),
            ("same", "is the same as another", "are the same as others"),
            ("unknown", "is not known yet", "are not known yet"),
        )
    ]
    told = [f"{n} {word if n == 1 else words}" for n, word, words in counts if n]
    total = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    return f"{total}: {', '.join(told)}" if told else "no steps"


def _line(text: str) -> str:
    """On one line, with nothing in it that a terminal would act upon."""
    return "".join(c if c.isprintable() else " " for c in readable(text))
