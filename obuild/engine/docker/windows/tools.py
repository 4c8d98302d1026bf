"""The libexec volume of Windows guests: Bash, tar and what else a copy needs there.

Archive endpoints do not reach a volume on Windows, so the files go into it through a container:
Windows' own tar, which does for plain files, unpacks them from its standard input. They are known
by a digest, that of all their names and contents. An empty file with this digest in its name is
written last. Once a visit the tools themselves tell what is in the volume; it is used if the
digest is right, and is that of the archive which the user named, if one was named.

The files stand at the volume's top and the volume at ``C:/PREFIX-libexec``, where OBuilder has
them. obuild fetches no programs by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from threading import Event, Lock
from typing import Any

from obuild.engine.docker import command
from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.engine.docker.mounts import host_config, volume_mount
from obuild.engine.docker.talking import failed, listening, talk
from obuild.engine.docker.windows.guest import ISOLATION
from obuild.errors import EngineError, UsageError

__all__ = ["DRIVE", "WindowsTools"]

DRIVE = "/cygdrive/c"
"""Drive C: in the words of Cygwin's tools."""

_SCRIPTS = ("manifest.bash", "unpack.bash")
_WRAPPER = "manifest-here.bash"
_OWN_TAR = "C:\\Windows\\System32\\tar.exe"
_LIST = 'cd -P -- "$1" && PATH=$1:$PATH && exec sha256sum -b -- *'
_LISTED = re.compile(r"\\?([0-9a-f]{64}) [ *](.+)")
_MARK = re.compile(r"obuild-tools-([0-9a-f]{64})")


class WindowsTools:
    """The tools of one visit. ``archive`` is the path of the user's, None if none was named;
    ``isolation`` that of all containers, None for OBuilder's choice."""

    def __init__(self, daemon: Daemon, archive: str | None, isolation: str | None):
        self._daemon = daemon
        self._archive = archive
        self._isolation = isolation
        self._lock = Lock()
        self._ready = False

    @property
    def folder(self) -> str:
        """Where the volume is in a guest, as Cygwin has it."""
        return f"{DRIVE}/{self._daemon.names.libexec}"

    def script(self, name: str, *arguments: str) -> list[str]:
        """The words that run a script of the volume: with none of the guest's settings."""
        return [*self.bash, f"{self.folder}/{_named(name)}", *arguments]

    def tool(self, name: str) -> str:
        """A program of the volume, as Windows starts it."""
        return f"C:/{self._daemon.names.libexec}/{name}"

    def config(
        self, image: str, argv: list[str], *, mounts: tuple[dict[str, Any], ...] = ()
    ) -> dict[str, Any]:
        """A container of ``image`` with the volume, read-only; it has no network."""
        libexec = self._daemon.names.libexec
        return self._config(
            image, argv, volume_mount(libexec, f"C:/{libexec}", read_only=True), *mounts
        )

    def with_path(self, config: dict[str, Any]) -> dict[str, Any]:
        """The same, its programs found by name. Not for one that is committed: the image
        would keep it. (Of Windows' form of a path Cygwin makes its own.)"""
        path = f"PATH=C:\\{self._daemon.names.libexec};C:\\Windows\\System32"
        return {**config, "Env": [path]}

    def prepare(self, image: str, name: str, cancel: Event) -> None:
        """See that the right tools are in the volume, once a visit; containers for it are of
        ``image``, one after the other, and are called ``name``.

        Raises ``UsageError`` where there are none and the user named no archive.
        """
        with self._lock:
            if self._ready:
                return
            wanted = None if self._archive is None else self._read(self._archive)
            found = self._look(image, name, cancel)
            if found is None or (wanted is not None and found != _digest(wanted)):
                if wanted is None:
                    raise _no_tools()
                self._fill(image, name, wanted, cancel)
                if self._look(image, name, cancel) != _digest(wanted):
                    raise EngineError(
                        f"what is in the volume {self._daemon.names.libexec} is not what was"
                        " put into it",
                        hint="are these tools for Windows, 64 bits? Do they run by themselves?",
                    )
            self._ready = True

    @property
    def bash(self) -> tuple[str, ...]:
        """A Bash that reads no start files, as Windows starts it."""
        return (self.tool("bash.exe"), "--norc", "--noprofile", "-p")

    @property
    def manifest(self) -> str:
        """A script that runs manifest.bash where it lies, beside its tools, even if it is
        itself copied to another place."""
        return f"{self.folder}/{_WRAPPER}"

    def _read(self, archive: str) -> dict[str, bytes]:
        from obuild import resources
        from obuild.engine.docker.windows.archive import read_tools

        files = read_tools(archive)
        for script in _SCRIPTS:
            content = resources.read("libexec", script)
            files[script] = files[_named(script)] = content  # the plain name is OBuilder's
        files[_WRAPPER] = _wrapper()
        return files

    def _look(self, image: str, name: str, cancel: Event) -> str | None:
        """The digest of the tools in the volume, None if they are not there, or not whole."""
        config = self.config(image, [*self.bash, "-c", _LIST, "obuild", self.folder])
        try:
            status, out, _ = self._run(name, config, cancel)
        except DaemonError as error:
            if error.status not in (400, 404, 500) or not _is_missing(error.words):
                raise
            return None  # no bash.exe
        if status:
            return None
        lines = [_LISTED.fullmatch(line.rstrip("\r")) for line in out.decode().splitlines()]
        files = {found[2]: found[1] for found in lines if found}
        marks = [found[1] for found in map(_MARK.fullmatch, files) if found]
        files = {n: digest for n, digest in files.items() if not _MARK.fullmatch(n)}
        known = all(_named(script) in files for script in _SCRIPTS)
        known = known and files.get(_WRAPPER) == sha256(_wrapper()).hexdigest()
        return _digest_of(files) if known and marks == [_digest_of(files)] else None

    def _fill(self, image: str, name: str, files: Mapping[str, bytes], cancel: Event) -> None:
        """Put the files into the volume, which is made anew."""
        libexec = self._daemon.names.libexec
        labels = self._daemon.volume_labels(libexec, note="whose is it?")
        self._daemon.remove_volume(libexec)
        self._daemon.create_volume(libexec, labels or {})
        stream = _archive({**files, f"obuild-tools-{_digest(files)}": b""})
        self.unpack(image, name, libexec, stream, cancel)

    def unpack(
        self, image: str, name: str, volume: str, stream: Iterator[bytes], cancel: Event
    ) -> None:
        """Plain files into a volume, by Windows' own tar; no tools are needed for that."""
        argv = [_OWN_TAR, "-xf", "-", "-C", f"C:\\{volume}"]
        config = self._config(image, argv, volume_mount(volume, f"C:/{volume}"))
        try:
            status, _, words = self._run(name, config, cancel, stream)
        except DaemonError as error:
            if not _is_missing(error.words):
                raise
            raise EngineError(
                f"the image {image} has no tar of its own, which could fill a volume",
                hint="start from Windows Server Core 2019 or later",
            ) from error
        if status:
            raise failed(f"filling the volume {volume}", status, words)

    def _run(
        self,
        name: str,
        config: dict[str, Any],
        cancel: Event,
        stdin: Iterator[bytes] | None = None,
    ) -> tuple[int, bytes, str]:
        """Status, standard output and error of a container that is removed then."""
        self._daemon.say(lambda: command.run_line(name, config, removed=True))
        made = self._daemon.create(name, config)
        try:
            with talk(self._daemon, name, cancel, stdin) as talking:
                out = b"".join(talking.output())
                status, words = talking.finish()
                return status, out, words
        finally:
            self._daemon.removals.now(lambda: self._daemon.remove_container(name, made))

    def _config(self, image: str, argv: list[str], *mounts: dict[str, Any]) -> dict[str, Any]:
        host = host_config("none")
        isolation = self._isolation or ISOLATION
        if isolation != "default":
            host["Isolation"] = isolation
        host["Mounts"] = list(mounts)
        return listening(
            {
                "Image": image,
                "Entrypoint": argv,
                "Cmd": [],
                "Env": [],
                "User": "ContainerAdministrator",
                "WorkingDir": "C:/",
                "Hostname": "builder",
                "HostConfig": host,
            }
        )


def _wrapper() -> bytes:
    """Runs manifest.bash of the first folder of the path, which is the volume."""
    return f'exec bash --norc -p "${{PATH%%:*}}/{_named("manifest.bash")}" "$@"\n'.encode()


def _named(script: str) -> str:
    """The script under a name with its digest, so that no other version is run."""
    from obuild import resources

    stem, _, kind = script.rpartition(".")
    return f"{stem}-{sha256(resources.read('libexec', script)).hexdigest()[:16]}.{kind}"


def _digest(files: Mapping[str, bytes]) -> str:
    return _digest_of({name: sha256(content).hexdigest() for name, content in files.items()})


def _digest_of(files: Mapping[str, str]) -> str:
    from obuild.engine.docker.windows.archive import digest_of

    return digest_of(files)


def _is_missing(words: str) -> bool:
    lower = words.lower()
    return "cannot find the file" in lower or "cannot find the path" in lower


def _archive(files: Mapping[str, bytes]) -> Iterator[bytes]:
    import tarfile

    for name, content in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o755
        yield member.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)
    yield bytes(1024)


def _no_tools() -> UsageError:
    return UsageError(
        "files can only be copied into and out of Windows guests with tools that obuild brings"
        " along, and there are none yet",
        hint="--libexec-tools FILE: a tar or zip of Cygwin's bash, tar and coreutils; once for"
        " each store",
    )
