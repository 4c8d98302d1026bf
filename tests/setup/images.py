"""Base images, where none can be pulled: made of Debian packages and imported."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path

import docker
import requests

from tests.setup import client, debian
from tests.setup.shell import SetupError, cache_folder, locked, output, say

__all__ = ["BUSYBOX", "DEBIAN", "busybox_root", "ensure_busybox", "ensure_debian", "has"]

BUSYBOX = "busybox:latest"
DEBIAN = "debian:12"

_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP = b"""\
root:x:0:
daemon:x:1:
users:x:100:
nobody:x:65534:
"""


def has(host: str, image: str) -> bool:
    """Whether the engine at ``host`` has an image of that name."""
    api = client.connect(host)
    try:
        api.inspect_image(image)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return False
    finally:
        api.close()
    return True


def ensure_busybox(host: str, *, pull_deadline: int = 0) -> None:
    """Make sure of ``busybox:latest``: there already, pulled (if a deadline in seconds is
    given), or made of Debian's busybox-static."""
    with locked("images"):
        if has(host, BUSYBOX):
            return
        if pull_deadline and _pull(host, BUSYBOX, pull_deadline):
            say(f"pulled {BUSYBOX}")
            return
        say(f"making the image {BUSYBOX} of Debian's busybox-static")
        _same_architecture(host)
        _import(host, busybox_root(), BUSYBOX, 'CMD ["sh"]')


def ensure_debian(host: str) -> None:
    """Make sure of ``debian:12``: there already, or made by mmdebstrap."""
    with locked("images"):
        if has(host, DEBIAN):
            return
        _same_architecture(host)
        archive = cache_folder() / "debian-12.tar"
        if not archive.exists():
            debian.bootstrap("bookworm", archive, variant="minbase")
        say(f"importing {DEBIAN}")
        with archive.open("rb") as file:
            _import(host, file, DEBIAN, 'CMD ["bash"]')


def _pull(host: str, image: str, deadline: int) -> bool:
    """Try to pull; the engine gives up when the connection is closed."""
    name, _, tag = image.partition(":")
    api = client.connect(host, deadline)

    def pull() -> None:
        try:
            for line in api.pull(name, tag=tag, stream=True, decode=True):
                if "error" in line:
                    say(f"cannot pull {image}: {line['error']}")
        except docker.errors.APIError as error:
            say(f"cannot pull {image}: {error.explanation}")
        except (requests.exceptions.RequestException, OSError) as error:
            say(f"cannot pull {image}: {error}")

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(deadline)
    if thread.is_alive():
        say(f"cannot pull {image}: not done within {deadline} seconds")
    else:
        api.close()
    return has(host, image)


def _import(host: str, archive: object, image: str, command: str) -> None:
    api = client.connect(host, deadline=300)
    try:
        api.import_image_from_data(
            archive,
            repository=image.partition(":")[0],
            tag=image.partition(":")[2],
            changes=[command, _PATH],
        )
    finally:
        api.close()
    if not has(host, image):
        raise SetupError(f"the engine at {host} did not take the image {image}")


def _same_architecture(host: str) -> None:
    api = client.connect(host)
    try:
        engine = str(api.version().get("Arch"))
    finally:
        api.close()
    here = (output(["dpkg", "--print-architecture"]) or "unknown").strip()
    if {"armhf": "arm", "i386": "386", "ppc64el": "ppc64le"}.get(here, here) != engine:
        raise SetupError(
            f"the engine at {host} is for {engine}, this machine's packages for {here}: "
            f"pull or import the images {BUSYBOX} and {DEBIAN} there yourself"
        )


def busybox_root() -> io.BytesIO:
    """A root folder with nothing in it but busybox, as a tar archive."""
    program = _busybox()
    applets = (output([program, "--list"]) or "").split()
    if "sh" not in applets:
        raise SetupError(f"{program} does not run, or has no shell")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("bin", "etc", "home", "root", "usr", "usr/bin", "var"):
            _add(tar, folder, tarfile.DIRTYPE, 0o755)
        for folder in ("tmp", "var/tmp"):
            _add(tar, folder, tarfile.DIRTYPE, 0o1777)
        _add(tar, "etc/passwd", tarfile.REGTYPE, 0o644, content=_PASSWD)
        _add(tar, "etc/group", tarfile.REGTYPE, 0o644, content=_GROUP)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, content=program.read_bytes())
        for applet in sorted({*applets} - {"busybox"}):
            _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, target="busybox")
        _add(tar, "usr/bin/env", tarfile.SYMTYPE, 0o777, target="../../bin/busybox")
    archive.seek(0)
    return archive


def _busybox() -> Path:
    root = debian.unpack("busybox-static")
    found = [path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists()]
    if not found:
        raise SetupError(f"the package busybox-static has no busybox in it ({root})")
    return found[0]


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes,
    mode: int,
    *,
    content: bytes = b"",
    target: str = "",
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, target, len(content)
    tar.addfile(member, io.BytesIO(content))
