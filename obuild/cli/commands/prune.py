"""Remove stored steps that are long out of use, never what a running build stands on.

A step can go once nothing is built on it any more. The one whose use is longest ago goes
first; then what it stood on comes into question, too. Of a base image only obuild's own name
is removed.
"""

from __future__ import annotations

import argparse
import json
import sys
from threading import Event

from obuild.cli.ages import age_text, parse_time
from obuild.cli.arguments import add_store
from obuild.cli.stored import open_both, shown, size_text
from obuild.cli.usage import Usage, measure
from obuild.engine import Engine
from obuild.errors import Cancelled, EngineError, EngineUnavailable, UsageError
from obuild.store import Store
from obuild.store.pruning import Conditions, Verdict, judge
from obuild.values import replace

__all__ = ["EPILOG", "register", "run"]

_DEFAULT = "30d"

EPILOG = f"""\
A step goes only if all conditions that are given allow it: it was last used before --before,
fewer than --max went already, and the steps that are left still take more than --keep-storage
(their own bytes, each layer counted once, base images not counted: the sum that obuild df
gives for steps). Without any of the three, what was not used for {_DEFAULT[:-1]} days goes.

Beside running builds nothing goes that was used or made since the oldest of them began, and
nothing that this stands on.

examples:
  obuild prune --dry-run              see what was not used for {_DEFAULT[:-1]} days
  obuild prune --before 7d            not used for a week
  obuild prune --before 2026-11-01T12:00 --max 100
  obuild prune --keep-storage 20g     what was used last stays, up to 20 GiB"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--before",
        type=parse_time,
        metavar="T",
        help="only what was last used before T: a day, a time (UTC), or an age as 7d, 12h, 30m",
    )
    parser.add_argument("--max", type=_number, metavar="N", help="remove at most N steps")
    parser.add_argument(
        "--keep-storage",
        type=_bytes,
        metavar="S",
        help="only as long as the steps take more than S, as 500m or 20g",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go, and why")
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    conditions = Conditions(arguments.before, arguments.max, arguments.keep_storage)
    if conditions == Conditions():
        conditions = Conditions(before=parse_time(_DEFAULT))
    with open_both(arguments.store, verbose=arguments.verbose) as (store, engine):
        usage = measure(store, engine)
        verdicts = judge(
            store.rows(), store.links(), store.holds().reason, usage.own_of_steps, conditions
        )
        report = _Report(usage, as_json=arguments.json, dry=arguments.dry_run)
        for verdict in verdicts:
            if verdict.goes and not arguments.dry_run:
                verdict = _remove(store, engine, verdict)
            report.add(verdict)
        report.end()
    return 0


def _remove(store: Store, engine: Engine, verdict: Verdict) -> Verdict:
    """Remove one step if it still can go; what became of it.

    Its row goes first, so that a build that begins meanwhile does not find the step. Where
    the engine then will not remove the snapshot (a container of the user's may use it), the
    row is put back. Raises ``EngineUnavailable``.
    """
    row = verdict.row
    busy = Event()
    try:
        with store.lock(row.id, busy, busy.set):
            parent = store.links().get(row.id)
            stays = store.evict(row.id, "prune")
            if not stays:
                try:
                    engine.delete([row.id])
                except EngineError as error:
                    store.put_back(row, parent)
                    if isinstance(error, EngineUnavailable):
                        raise
                    stays = error.message
                else:
                    store.remove_log(row.id)
    except Cancelled:
        stays = "it is in work"
    return replace(verdict, goes=False, why=stays) if stays else verdict


class _Report:
    """Says of each step what becomes of it, as it happens; as JSON at the end."""

    def __init__(self, usage: Usage, *, as_json: bool, dry: bool):
        self._usage = usage
        self._json = as_json
        self._dry = dry
        self._steps: list[dict[str, object]] = []
        self._freed = 0

    def add(self, verdict: Verdict) -> None:
        row = verdict.row
        size = self._usage.own_of_steps.get(row.id, 0)
        title = self._usage.titles.get(row.id)
        if verdict.goes:
            self._freed += size
        self._steps.append(
            {
                "key": row.id,
                "title": title,
                "removed": verdict.goes and not self._dry,
                "goes": verdict.goes,
                "reason": verdict.why,
                "used": row.used,
                "own": size,
            }
        )
        if not self._json:
            word = "keeps"
            if verdict.goes:
                word = "would remove" if self._dry else "removes"
            why = "" if verdict.goes else f", {verdict.why}"
            print(
                f"{word} {row.id[:12]}  last used {age_text(row.used)}, {size_text(size)}{why}"
                f"  {shown(title)}",
                flush=True,
            )

    def end(self) -> None:
        gone = sum(bool(step["goes"]) for step in self._steps)
        left = sum(self._usage.own_of_steps.values()) - self._freed
        if self._json:
            found = {
                "dry_run": self._dry,
                "steps": self._steps,
                "freed": self._freed,
                "left": left,
            }
            json.dump(found, sys.stdout, indent=1)
            print()
            return
        word = "would be removed" if self._dry else "removed"
        print(
            f"{gone} of {len(self._steps)} steps {word}, {size_text(self._freed)};"
            f" {size_text(left)} in steps stay"
        )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps")
    return int(text)


def _bytes(text: str) -> int:
    from obuild.cli.arguments import parse_memory

    if text == "0":
        return 0
    try:
        return parse_memory(text)
    except UsageError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: write for example 500m or 20g"
        ) from None
