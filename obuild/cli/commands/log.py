"""Print what a step wrote when it was run, byte for byte."""

from __future__ import annotations

import argparse
import sys

from obuild.cli.arguments import add_store
from obuild.cli.stored import find_key, open_store
from obuild.errors import UsageError

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild log 7332a056      the first digits of a key are enough
  obuild log 7332a056 | less -R"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, or its first digits; see obuild ls")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_store(arguments.store) as store:
        key = find_key(store, arguments.key)
        chunks = store.read_log(key)
        if chunks is None:
            raise UsageError(f"the step {key[:12]} has no log")
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    return 0
