"""Run a build script: take every step that is stored, do the others, keep them.

Progress and messages go to standard error. Standard output gets the result alone: its last
line is Got: "KEY".
"""

from __future__ import annotations

import argparse
import os
import sys

from obuild.cli.arguments import (
    add_key_options,
    add_limit_options,
    add_pace_options,
    add_script,
    add_store,
    image_name,
    key_options,
    limits,
    script_arguments,
    secrets,
    store_path,
)
from obuild.cli.building import Request, build
from obuild.cli.failure import colors
from obuild.cli.script import load
from obuild.errors import ObuildError
from obuild.progress import make
from obuild.values import replace

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild run simple.spec                    the context is the spec's folder
  obuild run simple.spec src -t app:1       another context; name the result
  obuild run simple.spec --progress plain   every line with its step, for logs
  obuild run simple.spec --explain          say of each step that is done why it is
  obuild run simple.spec -v                 show each engine call as a docker command
  obuild run -q simple.spec                 print the key and nothing else"""


def register(parser: argparse.ArgumentParser) -> None:
    add_script(parser)
    parser.add_argument(
        "-t",
        "--tag",
        type=image_name,
        action="append",
        default=[],
        metavar="NAME",
        help="name the sealed result, with the spec's last env, workdir, user and shell",
    )
    add_store(parser)
    add_key_options(parser)
    parser.add_argument(
        "--obuilder-keys",
        action="store_true",
        help="keys as OBuilder has them: x bits of files are not in them",
    )
    parser.add_argument(
        "--no-stat-cache",
        action="store_true",
        help="read every file of the context again, however old it is",
    )
    add_pace_options(parser)
    add_limit_options(parser)
    parser.add_argument(
        "--progress",
        choices=["auto", "tty", "plain", "json"],
        default="auto",
        help="how to show progress (default: tty on a terminal, else plain)",
    )
    parser.add_argument(
        "--explain", action="store_true", help="say of each step that is done why it is"
    )
    parser.add_argument(
        "--replay-logs", action="store_true", help="show the stored output of cached steps too"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="no progress; print the key alone"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show each engine call as a docker command"
    )


def run(arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    renderer = make(
        _mode(arguments.progress),
        sys.stderr,
        color=colors(sys.stderr),
        quiet=arguments.quiet,
        verbose=arguments.verbose,
        explain=arguments.explain,
    )
    try:
        result = build(request, renderer)
    except ObuildError as error:
        if error.reported:
            return error.exit_code  # the display has told all
        raise
    print(result.key if arguments.quiet else f'Got: "{result.key}"')
    return 0


def _mode(asked: str) -> str:
    """A terminal that can do nothing gets plain lines."""
    return "plain" if asked == "auto" and os.environ.get("TERM") == "dumb" else asked


def _request(arguments: argparse.Namespace) -> Request:
    file, context = script_arguments(arguments)
    return Request(
        script=load(file, context),
        store=store_path(arguments.store),
        options=replace(
            key_options(arguments),
            tags=tuple(arguments.tag),
            replay=arguments.replay_logs,
            limits=limits(arguments),
            jobs=arguments.jobs,
            step_timeout=arguments.step_timeout,
        ),
        secrets=secrets(arguments.secret),
        stat_cache=not arguments.no_stat_cache,
        verbose=arguments.verbose,
        tools=arguments.libexec_tools,
    )
