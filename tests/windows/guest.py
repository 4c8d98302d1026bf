"""The inside of a played Windows container: its drive C: as a folder, and a few programs.

What runs there is what obuild asks for: ``cmd`` with some of its commands, Windows' own ``tar``
(bsdtar, which knows no links), and Bash and tar of the tools on a volume. For these the Bash and
tar of this machine stand in, with the paths of the guest put below its folder; so the scripts
that obuild sends are really run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

__all__ = ["ICACLS", "Guest", "NotFound", "copy_drive"]

ICACLS = """#!/bin/bash
# What icacls does for a copy: /save writes what /restore gives back. Both are noted.
echo "icacls $*" >> "$ICACLS_LOG"
case $2 in
    /save) echo "$1 $(stat -c %a -- "$1")" > "$3" ;;
    /restore) while read -r name mode; do chmod "$mode" -- "$1/$name"; done < "$3" ;;
    *) exit 87 ;;
esac
"""


class Say(Protocol):
    """Takes what a program writes; ``kind`` is 1 for standard output, 2 for errors."""

    def __call__(self, data: bytes, kind: int = 1) -> None: ...


class NotFound(Exception):
    """The program is not in the guest."""


@dataclass
class Guest:
    """A container's drive, and what is mounted in it: folders by their place on the drive."""

    drive: Path
    mounts: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    log: Path = Path(os.devnull)
    env: dict[str, str] = field(default_factory=dict)

    def path(self, written: str, workdir: str = "C:/") -> Path:
        """Where on this machine a path of the guest is, in any of its spellings."""
        name = written.replace("\\", "/").removeprefix("/cygdrive/c")
        name = re.sub(r"^[Cc]:", "", name)
        if not name.startswith("/"):
            name = re.sub(r"^[Cc]:", "", workdir.replace("\\", "/")).rstrip("/") + "/" + name
        for place, (folder, _) in self.mounts.items():
            if name.lower() == place.lower() or name.lower().startswith(place.lower() + "/"):
                return folder / name[len(place) :].strip("/")
        return self.drive / name.strip("/")

    def run(self, argv: list[str], workdir: str, stdin: IO[bytes], say: Say) -> int:
        """The exit status. Raises ``NotFound``."""
        program = argv[0].replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
        if program == "cmd" and argv[1:3] == ["/S", "/C"]:
            return self._cmd(argv[3], workdir, say)
        if argv[0].lower().startswith("c:") and not self.path(argv[0]).exists():
            raise NotFound(argv[0])
        if program == "tar" and "system32" in argv[0].lower():
            return self._bsdtar(argv, stdin, say)
        if program in ("bash", "tar"):
            with self._real_mount("/cache"):
                return self._tool([program, *argv[1:]], stdin, say)
        raise NotFound(argv[0])

    @contextmanager
    def _real_mount(self, place: str) -> Iterator[None]:
        """A mounted folder stands on the drive itself while a tool looks at it from above."""
        if place not in self.mounts:
            yield
            return
        folder, read_only = self.mounts[place]
        there = self.drive / place.strip("/")
        folder.rename(there)
        self.mounts[place] = there, read_only
        try:
            yield
        finally:
            there.rename(folder)

    def _cmd(self, line: str, workdir: str, say: Say) -> int:
        for part in line.split("&&"):
            words = part.split()
            match [word.lower() for word in words[:1]]:
                case ["echo"]:
                    text, _, target = part.partition(">")
                    shown = text.strip()[len("echo ") :].rstrip() + "\n"
                    if target:
                        self.path(target.strip(), workdir).write_text(shown)
                    else:
                        say(shown.encode())
                case ["type"]:
                    try:
                        say(self.path(words[1], workdir).read_bytes())
                    except OSError:
                        say(b"The system cannot find the file specified.\r\n")
                        return 1
                case ["mkdir"]:
                    self.path(words[1], workdir).mkdir(parents=True)
                case ["exit"]:
                    return int(words[-1])
                case _:
                    say(f"'{words[0]}' is not recognized as an internal command\r\n".encode())
                    return 1
        return 0

    def _bsdtar(self, argv: list[str], stdin: IO[bytes], say: Say) -> int:
        folder = self.path(argv[argv.index("-C") + 1])
        if self._read_only(folder):
            say(b"tar.exe: could not chdir\r\n")
            return 1
        with tarfile.open(fileobj=stdin, mode="r|") as archive:
            for member in archive:
                if member.issym() or member.islnk():
                    say(b"tar.exe: a link cannot be created\r\n")
                    return 1
                archive.extract(member, folder, filter="fully_trusted")
        return 0

    def _tool(self, argv: list[str], stdin: IO[bytes], say: Say) -> int:
        path = [str(self.path(part)) for part in self.env.get("PATH", "").split(";") if part]
        path.append(os.environ["PATH"])
        done = subprocess.Popen(
            [self._mapped(word) for word in argv],
            cwd=self.drive,
            env={"PATH": ":".join(path), "ICACLS_LOG": str(self.log)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert done.stdin is not None
        assert done.stdout is not None
        assert done.stderr is not None
        pumps = [
            _pump(done.stderr, lambda data: say(data, 2)),
            _pump(stdin, _writer(done.stdin, self.drive), done.stdin),
        ]
        while data := os.read(done.stdout.fileno(), 1 << 16):
            say(data)
        pumps[0].join()
        return done.wait()

    def _mapped(self, word: str) -> str:
        if word.startswith(("/cygdrive/c", "C:", "c:")):
            return str(self.path(word))
        return word

    def _read_only(self, path: Path) -> bool:
        folders = [folder for folder, read_only in self.mounts.values() if read_only]
        return any(path.is_relative_to(folder) for folder in folders)


def _writer(pipe: IO[bytes], drive: Path) -> Callable[[bytes], None]:
    """The drive is also named in what is asked for on standard input."""
    named, real = b"\0/cygdrive/c\0", b"\0" + os.fsencode(drive) + b"\0"

    def write(data: bytes) -> None:
        pipe.write(data.replace(named, real))
        pipe.flush()

    return write


def _pump(
    source: IO[bytes], take: Callable[[bytes], None], ended: IO[bytes] | None = None
) -> threading.Thread:
    """Pass on what comes, as it comes."""

    def work() -> None:
        with suppress(OSError, ValueError):  # the program ended before
            while data := source.read1(1 << 16):  # type: ignore[attr-defined]
                take(data)
        with suppress(OSError):
            if ended is not None:
                ended.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def copy_drive(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
