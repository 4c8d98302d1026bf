"""Running a command: an overlay, a runtime, and what is left after it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from obuild.engine.destination import find_destination
from obuild.engine.native import syscalls
from obuild.engine.native.inside.caching import fill, mount_caches
from obuild.engine.native.inside.guest import Tree, into_guest
from obuild.engine.native.inside.sizes import tree_size
from obuild.engine.native.inside.stacks import mount_stack, own_mounts
from obuild.engine.native.inside.streams import Streams
from obuild.errors import BuildError

__all__ = ["run"]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_KILL = 9
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_MEMORY = syscalls.NO_SUID | syscalls.NO_DEVICES | syscalls.NO_EXEC


def run(wanted: dict[str, Any], streams: Streams) -> dict[str, Any]:
    """``layers``, ``stack``, ``work``: see ``mount_stack``. ``config``: the bundle's
    configuration, ``runtime``: the command that runs the bundle in the current folder,
    ``hidden``: folders that it must not see; ``log``: where it writes what it has to say.
    ``files``: secrets, by name, as hex; they are in ``WORK/memory``, in memory; ``secrets``:
    their ids by target. ``overlays``, ``fills``: see ``caching``; ``kept``: targets of mounts
    that stay.

    The answer: ``status`` of the runtime, ``log``, ``size`` of the layer in bytes.
    """
    own_mounts()
    work = wanted["work"]
    bundle = f"{work}/bundle"
    root = f"{bundle}/rootfs"
    # The configuration may hold a secret: it is kept in memory.
    syscalls.mount(b"tmpfs", os.fsencode(bundle), b"tmpfs", _MEMORY, b"mode=0700")
    os.mkdir(root)
    if wanted["files"]:
        _secrets(f"{work}/memory", wanted["files"])
    mount_caches(wanted["layers"], wanted["overlays"])
    mount_stack(wanted["layers"], wanted["stack"], work, root)
    fill(root, wanted["fills"])
    missing = list(_missing(root, wanted["config"]["mounts"], wanted["secrets"], wanted["kept"]))
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as written:
        json.dump(wanted["config"], written)
    os.chdir(bundle)
    status = _in_new_pids(wanted["runtime"], wanted["hidden"], streams)
    os.chdir("/")
    log = ""
    if os.path.exists(wanted["log"]):
        with open(wanted["log"], encoding="utf-8", errors="replace") as read:
            log = read.read()
    size = tree_size(f"{work}/layer/fs")
    into_guest(root)  # its links lead nowhere else
    _take_away(missing)
    return {"status": status, "log": log, "size": size}


def _secrets(folder: str, files: dict[str, dict[str, Any]]) -> None:
    syscalls.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _MEMORY, b"mode=0700")
    for name, file in files.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(f"{folder}/{name}", flags, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            written.write(bytes.fromhex(file["content"]))
            os.fchown(descriptor, file["uid"], file["gid"])
            os.fchmod(descriptor, file["mode"])


def _in_new_pids(command: Sequence[str], hidden: Sequence[str], streams: Streams) -> int:
    """Run a command as the first process of a pid namespace, all its output in one stream.

    Whoever kills it, or this process, ends everything that it started.
    """
    syscalls.unshare(syscalls.NEW_PIDS)
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, _KILL, 0, 0, 0)
            own_mounts()
            syscalls.mount(b"proc", b"/proc", b"proc")
            for folder in hidden:
                syscalls.mount(b"tmpfs", os.fsencode(folder), b"tmpfs")
            os.dup2(streams.given, 0)
            os.dup2(streams.shown, 1)
            os.dup2(streams.shown, 2)
            # Of obuild's environment the runtime would pass on more than one thinks: with
            # LISTEN_FDS even descriptors.
            os.execve(command[0], list(command), _ENVIRONMENT)
        finally:
            os._exit(127)
    streams.close_output()
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended)


def _missing(
    root: str,
    mounts: Sequence[Mapping[str, Any]],
    secrets: Mapping[str, str],
    kept: Sequence[str],
) -> Iterator[str]:
    """Where something will be mounted, and above, what is not there yet, upper ones first: the
    runtime makes it. ``secrets``: their ids by target; ``kept``: targets that stay. Raises
    ``BuildError`` where a secret cannot be."""
    tree = Tree(os.fsencode(root))
    seen: set[tuple[bytes, ...]] = set()
    for target in kept:
        with contextlib.suppress(BuildError):  # the runtime will say what is wrong with it
            path = find_destination(tree, target, directory=True).path
            seen.update(path[:end] for end in range(1, len(path) + 1))
    for mount in mounts:
        target = mount["destination"]
        secret = secrets.get(target)
        try:
            place = find_destination(tree, target, directory=True)
        except BuildError as error:
            if secret is None:
                continue  # the runtime will say what is wrong with it
            raise BuildError(
                f"the secret {secret} cannot be at {target}: a file or a link of the image is"
                " in the way",
                hint="choose another target",
            ) from error
        if secret is not None and place.is_folder:
            raise BuildError(
                f"the secret {secret} cannot be at {target}: the image has a folder there",
                hint="name a file in it",
            )
        if place.blocked:
            continue
        for end in range(place.existing + 1, len(place.path) + 1):
            if (path := place.path[:end]) not in seen:
                seen.add(path)
                yield os.fsdecode(b"/" + b"/".join(path))


def _take_away(missing: Sequence[str]) -> None:
    """Remove the places of mounts that were not there before and are empty still. What the
    command made a link is its own, and so is what is below it."""
    foreign = tuple(f"{path}/" for path in missing if os.path.islink(path))
    for path in reversed(missing):
        if path.startswith(foreign):
            continue
        try:
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(path)
            elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
                os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # the command has removed it
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # the command has put something into it
                raise
