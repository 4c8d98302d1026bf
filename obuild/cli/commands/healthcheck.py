"""See whether the engine really runs containers: a daemon that hangs still answers pings."""

from __future__ import annotations

import argparse

from obuild.cli.engines import docker_engine
from obuild.cli.stored import show

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  obuild healthcheck              with any image that the engine has
  obuild healthcheck debian:12    with this one, fetched if it is not there"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="the image to start")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each engine call")


def run(arguments: argparse.Namespace) -> int:
    engine = docker_engine("obuild-healthcheck", show, verbose=arguments.verbose)
    try:
        print(engine.healthcheck(arguments.image))
    finally:
        engine.close()
    return 0
