"""Build a spec as OBuilder does: its options, its keys, its lines on standard output.

Keys are always OBuilder's own, so both programs can use one store, in turn.
"""

from __future__ import annotations

import argparse
import os
import sys

from obuild.cli.arguments import add_limit_options, limits, secrets, store_path
from obuild.cli.building import Request, build
from obuild.cli.script import load
from obuild.cli.stored import show
from obuild.events import EngineCalled, Event, Warned
from obuild.executor.inputs import Options
from obuild.progress.calls import log_line
from obuild.progress.obuilder import ObuilderRenderer
from obuild.progress.output import clean_lines

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild build -f simple.spec --store=docker:/var/cache/obuilder .
  obuild build -f simple.spec --store=docker:./var --docker-cpus=8 --docker-memory=4g -v ."""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", dest="file", metavar="FILE", required=True, help="the spec")
    parser.add_argument("context", metavar="CONTEXT", help="the folder to copy from")
    parser.add_argument("--store", metavar="docker:PATH", help="where the state is kept")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="ID:PATH", help="a secret's value"
    )
    add_limit_options(parser)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="show each engine call, on standard error",
    )
    parser.add_argument(
        "--verbosity",
        choices=["quiet", "error", "warning", "info", "debug"],
        default="warning",
        help="what to show on standard error: from info on, each engine call",
    )


def run(arguments: argparse.Namespace) -> int:
    verbose = arguments.verbose > 0 or arguments.verbosity in ("info", "debug")
    request = Request(
        script=load(arguments.file, arguments.context),
        store=store_path(arguments.store),
        options=Options(
            obuilder_keys=True,
            replay=True,
            limits=limits(arguments),
            jobs=os.cpu_count() or 1,
        ),
        secrets=secrets(arguments.secret),
        stat_cache=True,
        verbose=verbose,
        tools=arguments.libexec_tools,
    )
    renderer = ObuilderRenderer(sys.stdout.buffer)

    def emit(event: Event) -> None:
        match event:
            case EngineCalled():
                for line in clean_lines(log_line(event)):
                    print(line, file=sys.stderr)
            case Warned():
                show(event)
            case _:
                renderer(event)

    build(request, renderer, emit)
    if renderer.broken:
        raise BrokenPipeError
    return 0
