"""Print a spec as the Dockerfile that OBuilder makes of it, byte for byte."""

from __future__ import annotations

import argparse
import sys

from obuild.cli.script import load
from obuild.ir.dockerfile import dockerfile
from obuild.source import encode

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild dockerfile -f simple.spec > Dockerfile
  obuild dockerfile -f simple.spec --buildkit     with mounts for caches and secrets

OBuilder's translation is rough: it quotes as OBuilder quotes."""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", dest="file", metavar="SPEC", required=True, help="the spec, or -")
    parser.add_argument(
        "--buildkit", action="store_true", help="caches and secrets as mounts of RUN"
    )
    parser.add_argument(
        "--escape",
        choices=["unix", "windows"],
        default="unix",
        help="the escape character: backslash or backtick",
    )


def run(arguments: argparse.Namespace) -> int:
    script = load(arguments.file, None)
    text = dockerfile(
        script.build, buildkit=arguments.buildkit, windows=arguments.escape == "windows"
    )
    sys.stdout.buffer.write(encode(text) + b"\n")
    sys.stdout.buffer.flush()
    return 0
