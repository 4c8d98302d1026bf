"""A played Docker daemon for Windows guests: what it has and what it refuses.

It does what Docker on Windows does with Hyper-V isolation, as far as obuild can meet it, says no
where that says no, and keeps every request (moby's ``daemon/*_windows.go`` and
``volume/mounts/windows_parser.go`` for what is refused). ``server`` makes it answer.
"""

from __future__ import annotations

import io
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Protocol

from tests.windows.guest import ICACLS, Guest, copy_drive

__all__ = ["BASE", "Attached", "Container", "Daemon", "Image", "Refused", "Request"]

BASE = "mcr.microsoft.com/windows/servercore:ltsc2022"
DIGEST = "sha256:3949614905ddf2c4451b18894563c36f0c0aa93ab0e17ea6f8ca3791313e4e4f"
_CMD = ["c:\\windows\\system32\\cmd.exe"]
_NETWORKS = ("", "default", "nat", "none")
_DRIVE = re.compile(r"[A-Za-z]:[\\/].+")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class Image:
    id: str
    drive: Path
    config: dict[str, Any]
    comment: str = ""
    tags: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


@dataclass
class Container:
    id: str
    name: str
    config: dict[str, Any]
    drive: Path
    status: str = "created"
    code: int = 0
    streams: list[Attached] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class Attached(Protocol):
    """The connection of a client that is attached."""

    stdin: IO[bytes]
    closed: threading.Event

    def takes(self, stream: str) -> bool:
        """Whether it is attached to ``stdin``, ``stdout`` or ``stderr``."""
        ...

    def say(self, data: bytes, stream: int) -> None: ...


class Refused(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Daemon:
    """Images, containers and volumes below ``folder``; ``pullable`` names what a registry has."""

    os = "windows"
    image_os = "windows"

    def __init__(self, folder: Path):
        self.folder = folder
        self.requests: list[Request] = []
        self.images: dict[str, Image] = {}
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.pullable = {BASE}
        self.acls = folder / "icacls.log"
        self._base = folder / "base"
        system = self._base / "Windows" / "System32"
        system.mkdir(parents=True)
        (self._base / "Windows" / "Temp").mkdir()
        (system / "tar.exe").write_bytes(b"bsdtar")
        (system / "icacls.exe").write_text(ICACLS)
        (system / "icacls.exe").chmod(0o755)

    def asked(self, method: str, pattern: str) -> list[Request]:
        """The requests whose path matches the regular expression whole."""
        found = [r for r in self.requests if r.method == method]
        return [r for r in found if re.fullmatch(pattern, r.path)]

    def pull(self, name: str) -> None:
        image = self._find(name)
        if image is None:
            config = {"Cmd": list(_CMD), "Entrypoint": None, "Env": None, "User": ""}
            image = self._add(self._base, config)
            image.tags.append(name)
            image.digests.append(f"{name.rpartition(':')[0]}@{DIGEST}")

    def image(self, name: str) -> Image:
        image = self._find(name)
        if image is None:
            raise Refused(404, f"No such image: {name}")
        return image

    def commit(self, query: dict[str, str], body: dict[str, Any]) -> str:
        container = self.container(query["container"])
        if container.status == "running":
            raise Refused(500, "Windows does not support commit of a running container")
        ran = container.config
        config = {
            **ran,
            "Env": [*(body.get("Env") or []), *(ran.get("Env") or [])],
            "Entrypoint": ran.get("Entrypoint"),
            "Cmd": ran.get("Cmd"),
        }
        for name in ("Entrypoint", "Cmd"):
            if isinstance(body.get(name), list):
                config[name] = body[name]
        image = self._add(container.drive, config, query.get("comment", ""))
        self.tag(image, f"{query['repo']}:{query['tag']}")
        return image.id

    def tag(self, image: Image, name: str) -> None:
        for other in self.images.values():
            if name in other.tags:
                other.tags.remove(name)
        image.tags.append(name)

    def untag(self, name: str) -> list[dict[str, str]]:
        image = self.image(name)
        tag = name if name in image.tags else f"{name}:latest"
        image.tags.remove(tag)
        rows = [{"Untagged": tag}]
        if not image.tags:
            del self.images[image.id]
            rows.append({"Deleted": image.id})
        return rows

    def container(self, name: str) -> Container:
        for found in self.containers.values():
            if name in (found.id, found.name):
                return found
        raise Refused(404, f"No such container: {name}")

    def create(self, name: str, config: dict[str, Any]) -> Container:
        if any(found.name == name for found in self.containers.values()):
            raise Refused(409, f'Conflict. The container name "/{name}" is already in use')
        image = self.image(config["Image"])
        host = config.get("HostConfig") or {}
        _check(config, host)
        for mount in host.get("Mounts") or []:
            self.volumes.setdefault(mount["Source"], {"Labels": None})
        merged = {**image.config, **{k: v for k, v in config.items() if v not in ("", None)}}
        drive = self.folder / f"container-{token_hex(4)}"
        copy_drive(image.drive, drive)
        made = Container(token_hex(32), name, merged, drive)
        self.containers[made.id] = made
        return made

    def start(self, container: Container) -> None:
        config = container.config
        host = config.get("HostConfig") or {}
        network = host.get("NetworkMode") or ""
        if network not in _NETWORKS:
            raise Refused(404, f"network {network} not found")
        if re.fullmatch(r"\d+:\d+", config.get("User") or ""):
            raise Refused(500, "hcs: The user name or password is incorrect. (0x52e)")
        mounts = {}
        for mount in host.get("Mounts") or []:
            place = re.sub(r"^[A-Za-z]:", "", mount["Target"].replace("\\", "/")).rstrip("/")
            mounts[place] = self.volume(mount["Source"]), bool(mount.get("ReadOnly"))
        variables = (one.partition("=") for one in config.get("Env") or [])
        env = {name: value for name, _, value in variables}
        guest = Guest(container.drive, mounts, self.acls, env)
        argv = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
        if not container.streams:
            raise Refused(500, "nobody is attached: what the test's commands say would be lost")
        program = argv[0]
        if program.lower().startswith("c:") and not guest.path(program).exists():
            container.code = 127
            self._end(container)
            raise Refused(
                400,
                "failed to create task for container: hcs::System::CreateProcess"
                f" {program}: The system cannot find the file specified.: unknown",
            )
        container.status = "running"
        threading.Thread(target=self._run, args=(container, guest, argv), daemon=True).start()

    def _run(self, container: Container, guest: Guest, argv: list[str]) -> None:
        config = container.config
        attached = [stream for stream in container.streams if stream.takes("stdin")]
        stdin = attached[0].stdin if config.get("OpenStdin") and attached else io.BytesIO()

        def say(data: bytes, kind: int = 1) -> None:
            for stream in container.streams:
                if stream.takes("stdout" if kind == 1 else "stderr"):
                    stream.say(data, kind)

        try:
            container.code = guest.run(argv, config.get("WorkingDir") or "C:\\", stdin, say)
        except Exception as error:  # noqa: BLE001 - a program that crashes
            say(f"{error}\r\n".encode(), 2)
            container.code = 1
        container.status = "exited"
        self._end(container)

    def _end(self, container: Container) -> None:
        for stream in container.streams:
            stream.closed.set()
        container.ended.set()

    def remove(self, container: Container) -> None:
        self._end(container)
        self.containers.pop(container.id, None)
        shutil.rmtree(container.drive, ignore_errors=True)

    def drop_volume(self, name: str) -> None:
        if name not in self.volumes:
            raise Refused(404, f"get {name}: no such volume")
        for container in self.containers.values():
            mounts = (container.config.get("HostConfig") or {}).get("Mounts") or []
            if any(mount["Source"] == name for mount in mounts):
                raise Refused(409, f"remove {name}: volume is in use - [{container.id}]")
        del self.volumes[name]
        shutil.rmtree(self.folder / "volumes" / name, ignore_errors=True)

    def volume(self, name: str) -> Path:
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _add(self, drive: Path, config: dict[str, Any], comment: str = "") -> Image:
        image_id = f"sha256:{token_hex(32)}"
        kept = self.folder / f"image-{image_id[7:15]}"
        copy_drive(drive, kept)
        plain = {k: v for k, v in config.items() if k not in ("HostConfig", "Image")}
        made = self.images[image_id] = Image(image_id, kept, plain, comment)
        return made

    def _find(self, name: str) -> Image | None:
        for image in self.images.values():
            if name == image.id or name in image.tags or f"{name}:latest" in image.tags:
                return image
        return None


def _check(config: dict[str, Any], host: dict[str, Any]) -> None:
    workdir = (config.get("WorkingDir") or "C:\\").replace("/", "\\")
    if not (workdir.startswith("\\") or _DRIVE.fullmatch(workdir) or workdir[1:] == ":\\"):
        raise Refused(
            400, f"the working directory '{workdir}' is invalid, it needs to be an absolute path"
        )
    if (host.get("Isolation") or "") not in ("", "default", "process", "hyperv"):
        raise Refused(400, f'invalid isolation: "{host["Isolation"]}"')
    if host.get("Tmpfs"):
        raise Refused(400, "Windows does not support tmpfs")
    if (host.get("NetworkMode") or "").startswith("container:") and host.get("Isolation"):
        raise Refused(400, "cannot join the network of another container with hyperv isolation")
    if host.get("Binds"):
        raise Refused(400, "this daemon's host has none of the client's files")
    for mount in host.get("Mounts") or []:
        if mount["Type"] != "volume":
            raise Refused(400, f"invalid mount config: unsupported type {mount['Type']}")
        target = mount["Target"]
        if not _DRIVE.fullmatch(target):
            raise Refused(400, f"invalid mount path: '{target}' mount path must be absolute")
