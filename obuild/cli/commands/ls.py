"""List the stored steps, the latest used first."""

from __future__ import annotations

import argparse
import json
import sys

from obuild.cli.arguments import add_store
from obuild.cli.stored import open_store, shown

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild ls           the latest used first
  obuild ls --json    for programs

Times are UTC. A step that OBuilder built has a key but no title here."""


def register(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(arguments: argparse.Namespace) -> int:
    with open_store(arguments.store) as store:
        titles = {record.key: (record.kind, shown(record.title)) for record in store.records()}
        rows = store.rows()[::-1]
    if arguments.json:
        found = [
            {
                "key": row.id,
                "kind": titles.get(row.id, (None, None))[0],
                "title": titles.get(row.id, (None, None))[1],
                "created": row.created,
                "used": row.used,
                "children": row.rc,
                "parent": row.parent,
            }
            for row in rows
        ]
        json.dump(found, sys.stdout, indent=1)
        print()
        return 0
    print(f"{'KEY':12}  {'CREATED':19}  {'USED':19}  CHILDREN  STEP")
    for row in rows:
        title = titles.get(row.id, ("", shown(None)))[1]
        print(f"{row.id[:12]}  {row.created:19}  {row.used:19}  {row.rc:8}  {title}")
    return 0
