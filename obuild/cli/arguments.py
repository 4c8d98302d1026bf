"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

from obuild.engine import Limits
from obuild.errors import UsageError, nearest

if TYPE_CHECKING:
    from obuild.executor.inputs import Options

__all__ = [
    "add_key_options",
    "add_limit_options",
    "add_pace_options",
    "add_script",
    "add_store",
    "image_name",
    "key_options",
    "limits",
    "parse_memory",
    "script_arguments",
    "secrets",
    "store_path",
]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_IMAGE_NAME = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
)
"""The grammar of the distribution project's ``reference`` package, without digests."""
_PLATFORM = re.compile(r"[a-z]+/[a-z0-9_]+(?:/[a-z0-9_.]+)?")
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_SECRET_FIELDS = ["id", "src", "env", "type"]
_SECRET_ALIASES = {"source": "src"}
_SECRET_HINT = "write ID:PATH, id=ID,src=PATH or id=ID,env=VAR"
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def add_script(parser: argparse.ArgumentParser) -> None:
    """FILE and CONTEXT, also as ``-f FILE CONTEXT``."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a spec, a folder with one, or -")
    parser.add_argument(
        "context", metavar="CONTEXT", nargs="?", help="the build context (default: FILE's folder)"
    )
    parser.add_argument(
        "-f", "--file", dest="file_option", metavar="FILE", help="the same, as docker users type it"
    )


def script_arguments(arguments: argparse.Namespace) -> tuple[str, str | None]:
    """FILE and CONTEXT of either spelling. Raises ``UsageError``."""
    if arguments.file_option is not None:
        if arguments.context is not None:
            raise UsageError("with -f FILE there is one more argument: CONTEXT")
        return arguments.file_option, arguments.file
    if arguments.file is None:
        raise UsageError("name the build script", hint="for example: obuild run simple.spec")
    return arguments.file, arguments.context


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="docker:PATH",
        help="where the state is kept (default: $OBUILD_STORE, else docker:$XDG_STATE_HOME/obuild)",
    )


def store_path(given: str | None) -> str:
    """The folder of the store. Raises ``UsageError`` for another kind of store."""
    spec = given or os.environ.get("OBUILD_STORE") or "auto"
    kind, colon, path = spec.partition(":")
    if kind == "auto" and not colon:
        return os.path.join(_state_home(), "obuild")
    if kind == "docker" and path:
        return path
    raise UsageError(f"{spec!r} is not a store that this version knows", hint="write docker:PATH")


def _state_home() -> str:
    home = os.environ.get("XDG_STATE_HOME", "")
    return home if os.path.isabs(home) else os.path.expanduser("~/.local/state")


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """Options that bear on keys, for run, build and plan alike."""
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="ID:PATH",
        help="a secret's value, from a file; also id=ID,src=PATH or id=ID,env=VAR",
    )
    parser.add_argument(
        "--platform",
        type=platform_name,
        metavar="OS/ARCH",
        help="ask this platform of every base image",
    )
    parser.add_argument(
        "--pin", action="store_true", help="write the digest of every base into its name"
    )
    parser.add_argument("--pull", action="store_true", help="fetch every base anew; implies --pin")
    parser.add_argument(
        "--network",
        type=network_name,
        metavar="NAME",
        help="the network of runs that name none (default: none)",
    )


def key_options(arguments: argparse.Namespace) -> Options:
    """The options of ``add_key_options`` and ``--obuilder-keys``; the others as they default."""
    from obuild.executor.inputs import Options  # not every command with arguments builds

    return Options(
        obuilder_keys=arguments.obuilder_keys,
        pull=arguments.pull,
        pin=arguments.pin,
        platform=arguments.platform,
        network=arguments.network,
    )


def image_name(text: str) -> str:
    """A name that an image may get, for argparse."""
    if not _IMAGE_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name for an image: write [HOST[:PORT]/]NAME[:TAG], lower case"
        )
    return text


def platform_name(text: str) -> str:
    """A platform, for argparse."""
    if not _PLATFORM.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no platform: write OS/ARCH or OS/ARCH/VARIANT, as linux/arm64"
        )
    return text


def network_name(text: str) -> str:
    """A network, for argparse."""
    if not text.strip():
        raise argparse.ArgumentTypeError("name a network; without the option there is none")
    return text


def secrets(given: list[str]) -> dict[str, bytes]:
    """The values of secrets by id, the first of one id counting, as in OBuilder.

    Raises ``UsageError`` for a form or file that is wrong.
    """
    return dict(reversed([_secret(text) for text in given]))


def _secret(text: str) -> tuple[str, bytes]:
    """``ID:PATH`` as OBuilder has it, or fields as ``docker build --secret`` takes them."""
    first = text.partition(",")[0].partition("=")[0].strip('"')
    if "=" not in text or ":" in first:
        name, _, path = text.partition(":")
        if not name or not path:
            raise _no_secret(text)
        return name, _from_file(name, path)
    fields = _secret_fields(text)
    variable: str | None
    source: str | None
    name, kind = fields.get("id", ""), fields.get("type", "")
    if not name or kind not in ("", "file", "env"):
        raise _no_secret(text)
    variable, source = fields.get("env"), fields.get("src")
    if variable is not None and source is not None:
        raise UsageError(f"--secret {text}: either src or env", hint="leave one of them out")
    if kind == "env" and variable is None:
        variable = source or name  # as docker: there src may name the variable, too
    if (variable, source, kind) == (None, None, "") and name in os.environ:
        variable = name
    if variable is not None:
        return name, _from_environment(variable)
    return name, _from_file(name, source or name)


def _secret_fields(text: str) -> dict[str, str]:
    import csv

    fields: dict[str, str] = {}
    for part in next(csv.reader([text]), []):
        given, equals, value = part.partition("=")
        name = _SECRET_ALIASES.get(given, given)
        if name not in _SECRET_FIELDS:
            near = nearest(given, [*_SECRET_FIELDS, *_SECRET_ALIASES])
            hint = f"did you mean {near}?" if near else f"there are {', '.join(_SECRET_FIELDS)}"
            raise UsageError(f"--secret {text}: there is no field {given!r}", hint=hint)
        if not equals or not value:
            raise UsageError(f"--secret {text}: {given} has no value", hint=_SECRET_HINT)
        if name in fields:
            raise UsageError(f"--secret {text}: {given} is given twice", hint=_SECRET_HINT)
        fields[name] = value
    return fields


def _no_secret(text: str) -> UsageError:
    return UsageError(f"--secret {text}: this is not a secret", hint=_SECRET_HINT)


def _from_environment(variable: str) -> bytes:
    if variable not in os.environ:
        raise UsageError(
            f"the variable {variable} of a secret is not set", hint=f"export {variable}=…"
        )
    return os.fsencode(os.environ[variable])


def _from_file(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise UsageError(
            f"cannot read the secret {name} from {path}: {error.strerror}",
            hint="see whether the path is right, and the file yours to read",
        ) from None


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--docker-cpus", type=float, metavar="N", help="CPUs that a run may use, as 1.5"
    )
    parser.add_argument(
        "--docker-memory", metavar="M", help="memory that a run may use, as 4g or 512m"
    )
    parser.add_argument(
        "--docker-isolation",
        choices=["default", "hyperv", "process"],
        help="isolation of Windows guests (default: hyperv; `default` leaves it to the daemon)",
    )
    parser.add_argument(
        "--libexec-tools",
        metavar="FILE",
        help="for copies with Windows guests: a tar or zip of Cygwin's bash, tar and coreutils",
    )
    parser.add_argument(
        "--docker-network",
        metavar="N",
        help="accepted for OBuilder's sake: obuild needs no network of its own",
    )


def add_pace_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=os.cpu_count() or 1,
        metavar="N",
        help="steps of independent nested builds to do at a time (default: one for each CPU)",
    )
    parser.add_argument(
        "--step-timeout",
        type=_seconds,
        metavar="S",
        help="stop a step that takes longer than S seconds; also 90s, 30m, 2h",
    )


def _jobs(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of steps, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    """A time, for argparse, in seconds."""
    match = _TIME.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write for example 90, 30m or 2h")
    return seconds


def limits(arguments: argparse.Namespace) -> Limits:
    """Raises ``UsageError`` for a number that makes no sense."""
    cpus = arguments.docker_cpus
    if cpus is not None and not 0 < cpus < 10_000:
        raise UsageError(f"--docker-cpus {cpus:g}: give a number above 0")
    memory = arguments.docker_memory
    return Limits(
        cpus=cpus,
        memory=None if memory is None else parse_memory(memory),
        isolation=arguments.docker_isolation,
    )


def parse_memory(text: str) -> int:
    """A size as docker writes it (``4g``, ``512m``, bytes without a unit), in bytes."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise UsageError(f"{text!r} is no amount of memory", hint="write for example 4g or 512m")
    return size
