"""Copies from a build whose image lies or attacks: nothing of such a copy is kept, and nothing
that the image wants is run (design, section 7: "The guest is not trusted")."""

from __future__ import annotations

import threading
import time
from threading import Event

import pytest
from docker import APIClient

from obuild.engine import PutFiles
from obuild.engine.docker import DockerEngine
from obuild.errors import Cancelled, SourceError
from obuild.ir.ops import UnixUser
from tests.engine.bases import Steps, key_of
from tests.engine.conftest import names_of

pytestmark = pytest.mark.engine

_SITE = r"""
set -e; cp /usr/bin/tar /usr/bin/realtar
mkdir /src; cd /src; printf one > a; printf two > b; ln -s a l
pack() { /usr/bin/realtar --format=gnu -b 128 --numeric-owner -P -c "$@"; }
mkdir -p /made/other/src; cd /made/other; printf onE > src/a; printf two > src/b; ln -s a src/l
pack -f ../content --no-recursion ./src ./src/a ./src/b ./src/l
printf one > src/a; printf more > src/z
pack -f ../extra --no-recursion ./src ./src/a ./src/b ./src/l ./src/z
pack -f ../less --no-recursion ./src ./src/a ./src/b
pack -f ../twice --no-recursion --hard-dereference ./src ./src/a ./src/a ./src/b ./src/l
pack -f ../absolute --transform 's,^./src/a,/etc/a,' --no-recursion ./src ./src/a ./src/b
pack -f ../above --transform 's,^./src/a,../a,' --no-recursion ./src ./src/a ./src/b ./src/l
rm src/l; ln -s b src/l
pack -f ../target --no-recursion ./src ./src/a ./src/b ./src/l
rm src/l src/b; ln -s a src/l; ln src/a src/b
pack -f ../hardlink --no-recursion ./src ./src/a ./src/b ./src/l
rm src/a src/b; printf two > src/b; mkfifo src/a
pack -f ../special --no-recursion ./src ./src/a ./src/b ./src/l
"""


def _script(path: str, body: str) -> str:
    """A command that puts a script where a program of the image was."""
    return f"rm -f {path}; cat > {path} <<'END'\n#!/bin/sh\n{body}\nEND\nchmod 755 {path}\n"


def _tar(body: str) -> str:
    honest = 'case "$*" in *--version*) exec /usr/bin/realtar "$@" ;; esac'
    return _script("/usr/bin/tar", f"{honest}\n{body}")


def _bash(body: str) -> str:
    """A bash that says that its tools are ready, and then does as it likes."""
    return _script("/usr/bin/bash", f"printf '\\0000\\0\\0'\n{body}")


class Site:
    """An image with the tree ``/src``, and copies of it from spoilt images."""

    def __init__(self, steps: Steps, debian: str, base: str):
        self.steps = steps
        self.base = base
        self.made = steps.run(steps.base(debian), _SITE)

    def spoil(self, cmd: str) -> str:
        return self.steps.run(self.made, cmd)

    def copy(self, key: str, cancel: Event | None = None) -> str:
        flag, made = cancel or Event(), key_of(f"copy of {key}")
        engine = self.steps.engine
        with engine.source(key, flag) as source:
            files = source.files(source.manifest(["src"], ()), "/t/", UnixUser(0, 0))
            engine.execute(made, self.base, PutFiles("/t/", files), lambda _: None, flag)
        return made

    def refused(self, cmd: str, words: str) -> None:
        """A copy from an image spoilt by ``cmd`` fails, and nothing is kept of it."""
        key = self.spoil(cmd)
        before = {snapshot.key for snapshot in self.steps.engine.list()}
        with pytest.raises(SourceError, match=words):
            self.copy(key)
        assert {snapshot.key for snapshot in self.steps.engine.list()} == before


@pytest.fixture
def site(steps: Steps, debian_image: str, base: str) -> Site:
    return Site(steps, debian_image, base)


def test_an_archive_that_is_not_what_was_asked_for(site: Site) -> None:
    honest = site.copy(site.made)
    assert site.steps.see(honest, "cat /t/src/a /t/src/b /t/src/l") == b"onetwoone"
    for name, words in {
        "content": "is not what its manifest says",
        "extra": "more than it was asked for",
        "less": "has less in it",
        "twice": "should come",
        "absolute": "should come",
        "above": "should come",
        "target": "should come",
        "hardlink": "should come",
        "special": "should come",
    }.items():
        site.refused(_tar(f"cat /made/{name}"), words)


def test_archives_that_never_end_or_are_cut(site: Site) -> None:
    site.refused(_tar("exec cat /dev/zero"), "is none")
    site.refused(_tar('/usr/bin/realtar "$@"; exec cat /dev/zero'), "no status|more than")
    cut = '/usr/bin/realtar "$@" | head -c 1000; exit 5'
    site.refused(_tar(cut), "ended|more than|less|none|number")
    site.refused(_tar('/usr/bin/realtar "$@"; echo Out of ideas >&2; exit 3'), "status 3.*ideas")


def test_lies_about_digests_and_sizes(site: Site) -> None:
    moved = "cp /usr/bin/{0} /usr/bin/real{0}\n"
    lie = "/usr/bin/realsha256sum \"$@\" | sed 's/^[0-9a-f]/0/; s/^\\\\\\{0,1\\}[0-9a-f]/0/'"
    digests = moved.format("sha256sum") + _script("/usr/bin/sha256sum", lie)
    site.refused(digests, "is not what its manifest says")
    larger = 'case "$*" in *--version*) exec /usr/bin/realdu "$@" ;; esac\n'
    larger += "/usr/bin/realdu \"$@\" | sed 's/^3/4/'"
    site.refused(moved.format("du") + _script("/usr/bin/du", larger), "should come")


_DIGEST = "0" * 64
_OWNED = "(0644 0 0)"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (rf"(File(etc/shadow {_DIGEST}{_OWNED}))\n\0000\0\0", "'src' was asked for"),
        (rf"(Dir(src((File(src/../a {_DIGEST}{_OWNED})))(0755 0 0)))\n\0000\0\0", "be read"),
        (rf"(File(src {_DIGEST}))\n\0000\0\0", "no attributes"),
        (r"\0000\0\0", "0 manifests where 1"),
        (r"(\n\0000\0\0", "cannot be read"),
        (r"nonsense\0nonsense\0\0", "no status|more than"),
        (r"\0001\0it says\033[2Jso\0", "it says"),
    ],
)
def test_manifests_that_are_none(site: Site, printed: str, words: str) -> None:
    site.refused(_bash(f"head -c 9 >/dev/null; printf '{printed}'; exec sleep 9"), words)


def test_a_manifest_without_end(site: Site) -> None:
    endless = "tr '\\0' x </dev/zero"
    site.refused(_bash(f"exec {endless}"), "a text of more than")


def test_a_bash_that_does_not_work_is_not_needed(site: Site) -> None:
    """Then the archive endpoint is read, as where there is none."""
    bash = "/usr/bin/bash"
    broken = (
        *(_script(bash, body) for body in ("exit 1", "echo hello", "exec /no/where")),
        f"rm {bash}; mkdir {bash}",
        "rm /usr/bin/tar",
        _script("/usr/bin/tar", "echo busybox"),
    )
    for spoilt in broken:
        copied = site.copy(site.spoil(spoilt))
        assert site.steps.see(copied, "cat /t/src/a /t/src/l") == b"oneone"


def test_the_environment_of_the_image_has_no_effect(
    steps: Steps, site: Site, api: APIClient, prefix: str
) -> None:
    """BASH_ENV, exported functions, TAR_OPTIONS and LD_PRELOAD would all run something."""
    evil = _script("/evil", "echo evil; exit 9")
    made = site.spoil(f"{evil}mkdir /bad; for t in tar sha256sum bash; do cp /evil /bad/$t; done")
    container = api.create_container(f"{prefix}-image-{made}", ["none"])["Id"]
    env = [
        "BASH_ENV=/evil",
        "ENV=/evil",
        "PATH=/bad:/usr/bin:/bin",
        "TAR_OPTIONS=--checkpoint=1 --checkpoint-action=exec=/evil",
        "LD_PRELOAD=/evil",
        "LD_LIBRARY_PATH=/bad",
        "BASH_FUNC_printf%%=() { echo evil; }",
        "BASH_FUNC_type%%=() { echo evil; }",
        "SHELLOPTS=xtrace:noexec",
        "BASHOPTS=extdebug",
        "POSIXLY_CORRECT=1",
        "IFS=/",
        "LC_ALL=tr_TR.UTF-8",
    ]
    name = "obuild-test/env"
    conf = {"Env": env, "Entrypoint": ["/evil"]}
    api.commit(container, repository=name, tag="latest", conf=conf)
    api.remove_container(container)
    try:
        copied = site.copy(steps.base(name))
        assert steps.see(copied, "cat /t/src/a; ls /t/src") == b"onea\nb\nl\n"
    finally:
        api.remove_image(name)


@pytest.mark.parametrize("silent", ["manifest", "tar"])
def test_cancelled_soon_and_nothing_stays(
    engine: DockerEngine, site: Site, api: APIClient, prefix: str, silent: str
) -> None:
    """A guest that sends nothing is given up when the build is cancelled, no sooner."""
    wait = "exec sleep 300"
    key = site.spoil(_tar(wait) if silent == "tar" else _bash(wait))
    cancel, ended = Event(), []

    def work() -> None:
        with pytest.raises(Cancelled):
            site.copy(key, cancel)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(4)
    assert not ended
    begin = time.monotonic()
    cancel.set()
    thread.join(20)
    assert ended
    assert ended[0] - begin < 3, "to kill and remove the containers takes the most of it"
    engine.close()
    assert not [n for n in names_of(api, prefix) if "-copy-" in n or "-container-" in n]


def test_the_container_can_do_nothing_else_and_ends_with_obuild(
    engine: DockerEngine, site: Site, api: APIClient, prefix: str
) -> None:
    """It reads its standard input; when that is closed, however that came, it is done."""
    with engine.source(site.made, Event()) as source:
        source.manifest(["src"], ())
        rows = [r for r in api.containers() if r["Names"][0].startswith(f"/{prefix}-copy-")]
        (seen,) = (api.inspect_container(row["Id"]) for row in rows)
        assert seen["HostConfig"]["NetworkMode"] == "none"
        assert seen["HostConfig"]["ReadonlyRootfs"]
        assert all(not mount["RW"] for mount in seen["Mounts"])
        assert seen["Config"]["OpenStdin"]
        assert seen["Config"]["StdinOnce"]
