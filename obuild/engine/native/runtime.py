"""The OCI runtime of this host: which one works, its command line, and what its failures mean.

crun comes first: a run through it takes about half the time of one through runc (measured).
crun up to 1.15 refuses a host with control groups of both versions ("hybrid"); where version 2
is hidden from it, under an empty mount over its folder, it works there too.

Whether a runtime works is found out by running the smallest container there is, a program of
some 130 bytes that ends at once, in the namespaces in which steps will run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from obuild.engine.native.bundle import NO_NETWORK, oci_config
from obuild.engine.native.seccomp import architectures, profile
from obuild.errors import EngineUnavailable
from obuild.values import Value

__all__ = ["Failure", "Runtime", "command", "discard", "explain", "find", "probe"]


class Runtime(Value):
    """A runtime that works here.

    ``cgroups``: whether it puts each container into a control group. ``hidden``: folders over
    which an empty tmpfs must be mounted for it, in a mount namespace that only it sees.
    """

    name: str
    path: str
    cgroups: bool
    hidden: tuple[str, ...] = ()


class Failure(Value):
    """Why a container did not start. ``status`` is what a shell's would be: 127, there is no
    such program, 126, it cannot be started; None: it is not the command's fault."""

    message: str
    status: int | None


Attempt = Callable[[Runtime], str]
"""Runs the container of ``probe``; what went wrong, empty if nothing did."""

_NAMES = ("crun", "runc")

_INSTALL = (
    "install crun (or runc): Debian, Ubuntu `apt-get install crun`, Fedora `dnf install crun`,"
    " Alpine `apk add crun`; or name a Docker engine: --store docker:PATH"
)


def find(
    attempt: Attempt, *, search: str, kept: str, rootless: bool, hybrid: str | None = None
) -> Runtime:
    """The first runtime that works, of those in the folders of ``search`` (a PATH).

    ``hybrid``: where control groups of version 2 are mounted beside those of version 1.
    ``kept``: a file in which the answer is kept; it holds for the same programs on the same
    kernel, and the same user and control groups. Raises ``EngineUnavailable``: none is there,
    or none works.
    """
    import json
    import shutil

    found = [(name, path) for name in _NAMES if (path := shutil.which(name, path=search))]
    if not found:
        raise EngineUnavailable(
            "there is no OCI runtime on the PATH: neither crun nor runc", hint=_INSTALL
        )
    circumstances = [os.uname().release, os.geteuid(), rootless, hybrid, *map(_file, found)]
    text = json.dumps(circumstances)
    if (answer := _read_answer(kept, text)) is not None:
        return answer
    said = []
    for candidate in _candidates(found, rootless=rootless, hybrid=hybrid):
        problem = attempt(candidate)
        if not problem:
            _keep_answer(kept, text, candidate)
            return candidate
        said.append(f"{candidate.path}: {problem}")
    raise EngineUnavailable(
        "no OCI runtime works on this host\n" + "\n".join(f"  {line}" for line in said),
        hint="in a container, it must be a privileged one; " + _INSTALL,
    )


def _candidates(
    found: Sequence[tuple[str, str]], *, rootless: bool, hybrid: str | None
) -> list[Runtime]:
    hidden = (hybrid,) if hybrid else ()
    return [
        Runtime(name, path, cgroups=not rootless, hidden=hidden if name == "crun" else ())
        for name, path in found
    ]


def _file(found: tuple[str, str]) -> list[object]:
    status = os.stat(found[1])
    return [found[1], status.st_ino, status.st_mtime_ns, status.st_size]


def _read_answer(kept: str, circumstances: str) -> Runtime | None:
    """None where it was not kept, or for other circumstances, or cannot be understood."""
    import json

    try:
        with open(kept, encoding="utf-8") as file:
            held = json.load(file)
        if held["circumstances"] != circumstances:
            return None
        name, path, cgroups, hidden = held["runtime"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return Runtime(name, path, cgroups, tuple(hidden))


def _keep_answer(kept: str, circumstances: str, its: Runtime) -> None:
    import json

    answer = [its.name, its.path, its.cgroups, its.hidden]
    half = f"{kept}.{os.getpid()}"
    with open(half, "w", encoding="utf-8") as file:
        json.dump({"circumstances": circumstances, "runtime": answer}, file)
    os.replace(half, kept)


def command(runtime: Runtime, container: str, *, state: str, log: str) -> list[str]:
    """The argument list that runs the bundle in the current folder, and ends with its command.

    ``state``: a folder for what the runtime notes of running containers; ``container``:
    a name used once at a time in it, of letters, digits, ``_+-.``. The runtime writes to
    ``log`` why it could not start the container, and the same on its standard error.
    """
    options = ["--root", state, "--log", log]
    if runtime.name == "crun":
        manager = "cgroupfs" if runtime.cgroups else "disabled"
        options += ["--log-format", "text", "--cgroup-manager", manager]
    else:
        rootless = "false" if runtime.cgroups else "true"
        options += ["--log-format", "json", "--rootless", rootless]
    # A keyring per container comes out of a small allowance of the user's; a step can reach
    # none, by the seccomp profile.
    return [runtime.path, *options, "run", "--no-new-keyring", container]


def discard(state: str, container: str) -> None:
    """Take away what a killed runtime left of a container of which no process is alive."""
    import shutil

    try:
        shutil.rmtree(f"{state}/{container}")
    except FileNotFoundError:
        return


def explain(runtime: Runtime, log: str, args: Sequence[str]) -> Failure | None:
    """Why the command ``args`` was not started, from the runtime's log; None: it was started,
    and the status is its own.

    The interpreter of a script, and the format of a program, the kernel looks at last: what
    is wrong with them is said on standard error alone, with status 1 (runc) or 127.
    """
    said = _said_by_runc(log) if runtime.name == "runc" else _said_by_crun(log)
    if not said:
        return None
    program = args[0] if args else ""
    for phrase in ("executable file not found in $PATH", "not found in $PATH"):
        if phrase in said:
            return Failure(f"{program}: there is no such program on the PATH of the step", 127)
    begun = f'exec: "{program}": ' in said or said.startswith("open executable")
    if begun and "no such file or directory" in said.lower():
        return Failure(f"{program}: there is no such file", 127)
    if begun:
        return Failure(f"{program}: it is not a program that may be executed", 126)
    if "not a directory" in said.lower() and ("chdir" in said or ": mkdir " in said):
        return Failure("the working directory, or a folder above it, is no directory", 126)
    return Failure(f"{runtime.name} cannot start the step: {said}", None)


def _said_by_runc(log: str) -> str:
    """The errors; it writes warnings to its log as well."""
    import json

    errors = []
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a line that was cut by a full disk
            entry = {"level": "error", "msg": line}
        if entry.get("level") in ("error", "fatal"):
            message = str(entry.get("msg", ""))
            start = "runc run failed: unable to start container process: "
            errors.append(message.removeprefix(start).removeprefix("runc run failed: "))
    return "; ".join(errors)


def _said_by_crun(log: str) -> str:
    """Its lines are ``TIME: WHAT``; it writes errors only, if not asked for more."""
    return "; ".join(line.partition("Z: ")[2] or line for line in log.splitlines() if line)


_END = {
    # The machine's number in ELF, and: exit(0)
    "x86_64": (62, bytes.fromhex("b83c000000 31ff 0f05")),
    "aarch64": (183, bytes.fromhex("a80b80d2 000080d2 010000d4")),
    "riscv64": (243, bytes.fromhex("9308d005 13050000 73000000")),
}
_ORIGIN = 0x10000


def probe(folder: str, machine: str, *, rootless: bool, prefix: str = "obuild") -> dict[str, Any]:
    """Make the bundle of the smallest container in ``folder``, which is there: ``rootfs``
    with a program ``end``. Returns its configuration, which has all that a step's has; its
    control group bears ``prefix``, the store's, so that a sweep finds what a killed one left.

    Raises ``EngineUnavailable`` for an unknown machine.
    """
    architectures(machine)
    os.makedirs(f"{folder}/rootfs", mode=0o755, exist_ok=True)
    program = f"{folder}/rootfs/end"
    with open(program, "wb") as file:
        file.write(_elf(*_END[machine]))
    os.chmod(program, 0o755)
    return oci_config(
        args=["/end"],
        env=[],
        cwd="/",
        uid=0,
        gid=0,
        hostname="probe",
        network=NO_NETWORK,
        rootless=rootless,
        seccomp=profile(machine),
        cgroup=None if rootless else f"/{prefix}-probe-{os.getpid()}",
    )


def _elf(machine: int, code: bytes) -> bytes:
    """A program of one segment: header, one program header, code (System V ABI, "Object
    Files", the 64-bit forms)."""
    import struct

    start = 64 + 56
    size = start + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, machine, 1, _ORIGIN + start, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ORIGIN, _ORIGIN, size, size, 0x10000)
    return header + segment + code
