"""``obuild``: find the command, run it, turn what went wrong into words and an exit code."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

from obuild import __version__
from obuild.cli.failure import draw
from obuild.errors import ObuildError, nearest

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = {
    "run": "run a build script and keep every step",
    "build": "the same in OBuilder's own spelling and output",
    "plan": "show every step with its key, without running anything",
    "explain": "tell which steps are stored, and what changed in those that are not",
    "check": "find errors and doubtful places in a build script",
    "dockerfile": "print a spec as the Dockerfile that OBuilder makes of it",
    "ls": "list the stored steps",
    "log": "print what a step wrote",
    "df": "show what the store holds and how large it is",
    "cache": "list, remove, export and import the caches of runs",
    "delete": "remove a stored step and all that was built on it",
    "prune": "remove stored steps that are long out of use",
    "clean": "remove everything that the store holds",
    "healthcheck": "see whether the engine really runs containers",
    "completion": "print completion code for a shell",
}

_DESCRIPTION = """\
Run build scripts in sandboxed containers. Every step is kept under a content-hashed key,
so a build that is repeated does only what has changed."""

_EXAMPLES = """\
examples:
  obuild run simple.spec           build it; the context is the spec's folder
  obuild run simple.spec -t app    and name the result
  obuild plan simple.spec          see the keys first
  obuild COMMAND --help            more on a command

exit status: 0 done, 1 a step failed, 2 wrong usage or build script, 3 the engine failed,
4 the store failed, 130 cancelled"""


def build_parser(loaded: Collection[str] = COMMANDS.keys()) -> argparse.ArgumentParser:
    """The parser of the commands ``loaded``; of none, one that lists all of them."""
    parser = argparse.ArgumentParser(
        "obuild",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"obuild {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name in loaded or COMMANDS:
        summary = COMMANDS[name]
        if not loaded:
            commands.add_parser(name, help=summary, add_help=False)
            continue
        module = import_module(f"obuild.cli.commands.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or "").split("\n\n")[0],
            epilog=module.EPILOG,
            formatter_class=_formatter,
        )
        module.register(command)
        command.set_defaults(run=module.run)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=_columns() - 2)


def _columns() -> int:
    """As ``shutil.get_terminal_size`` finds them, which loads three compression libraries."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    if sys.__stdout__ is None:
        return 80
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
    except (ValueError, OSError):
        return 80


def _chosen(arguments: Sequence[str]) -> Collection[str]:
    """The command, if it is the first word: then no other need be loaded."""
    if arguments and arguments[0] in COMMANDS:
        return arguments[:1]
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is None:
        return ()
    if word == arguments[0]:
        near = nearest(word, list(COMMANDS))
        hint = f"did you mean {near}?" if near else "see obuild --help"
        print(f"obuild: there is no command {word!r}; {hint}", file=sys.stderr)
        raise SystemExit(2)
    return COMMANDS.keys()


def _hold_standard_streams() -> bool:
    """Give descriptors that are closed to nobody; returns whether standard output was.

    Else the next file that is opened, the database maybe, would become standard output.
    """
    closed = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
            closed.append(number)
    if 1 in closed:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if 2 in closed:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    return 1 in closed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code of the design's table."""
    arguments = sys.argv[1:] if arguments is None else arguments
    closed = _hold_standard_streams()
    try:
        parsed = build_parser(_chosen(arguments)).parse_args(arguments)
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        if closed:
            raise BrokenPipeError
        return code
    except ObuildError as error:
        draw(error, sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read standard output is gone. Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("obuild: standard output was closed before all was written", file=sys.stderr)
        return 1
    except OSError as error:
        # What files and engines do is told by their own errors; this is a stream of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"obuild: error: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("obuild: cancelled", file=sys.stderr)
        return 130
    finally:
        gc.freeze()  # or Python looks through everything for garbage while it ends
