"""Caches of runs: OBuilder's kind, whose volumes both tools find, and BuildKit's.

What OBuilder does stands in ``golden/store`` and in its ``lib/docker_store.ml``.
"""

from __future__ import annotations

import gzip
import shlex
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from docker import APIClient

from obuild.engine import Lock, RunCommand
from obuild.engine.docker import DockerEngine
from obuild.engine.docker.caches.names import lock_of
from obuild.errors import EngineError, StepFailed
from obuild.events import Event as Event_
from obuild.events import Warned
from obuild.ir.ops import Cache, UnixUser
from obuild.ir.steps import RunStep
from tests import vectors
from tests.engine.bases import ROOT, SHELL, Steps, key_of
from tests.engine.conftest import MakeEngine, names_of
from tests.engine.dying import KEY
from tests.engine.proxy import Proxy
from tests.engine.test_contract_caches import cache, run

pytestmark = pytest.mark.engine


@pytest.fixture
def engine(make_engine: Callable[[], DockerEngine]) -> DockerEngine:
    return make_engine()


def volumes_of(api: APIClient, prefix: str) -> set[str]:
    return {name for name in names_of(api, prefix) if "-cache-" in name}


def test_volumes_are_named_and_owned_as_obuilders(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    """The runs of ``golden/store``: names, and owner and mode of the root and of the files."""
    state = vectors.load("store/store.json")["stores"][0]["states"][0]
    run(engine, base, "echo wax > /wax/stick", cache("wax", "/wax"))
    both = cache("wax", "/wax"), cache("rope", "/rope")
    run(engine, base, "ls /wax; touch /rope/knot", *both, user=UnixUser(1000, 100))
    for golden in state["volumes"]:
        name = golden["name"].partition("-cache-")[2]
        if not name:
            continue
        container = api.create_container_from_config(
            {
                "Image": "busybox",
                "HostConfig": {"Binds": [f"{prefix}-cache-{name}:/v"]},
                "Entrypoint": ["none"],
            },
            f"{prefix}-container-look-{name}",
        )["Id"]
        data = b"".join(api.get_archive(container, "/v")[0])
        api.remove_container(container)
        with tarfile.open(fileobj=BytesIO(data)) as archive:
            members = archive.getmembers()
        found = {m.name.removeprefix("v").strip("/") or ".": m for m in members}
        for file in golden["files"]:
            seen = found[file["path"]]
            assert (seen.uid, seen.gid) == (file["uid"], file["gid"])
            assert f"{seen.mode & 0o7777:04o}" == file["mode"]
    engine.close()
    assert volumes_of(api, prefix) == {f"{prefix}-cache-c-wax", f"{prefix}-cache-c-rope"}


def test_a_fault_while_a_cache_is_kept_does_not_hide_a_failed_command(
    engine_host: str, prefix: str, engine: DockerEngine, base: str, lock: Lock
) -> None:
    """Nor is it a fault that would have the command run again: that has failed."""
    with Proxy(engine_host) as proxy:
        broken = DockerEngine(prefix, host=proxy.host, lock=lock, emit=lambda _: None)
        said: list[bytes] = []

        def output(data: bytes) -> None:
            said.append(data)
            proxy.refuse(b"/volumes/create HTTP")

        cache = Cache("kept", "/c")
        cmd = "echo at work; echo x > /c/n; exit 3"
        step = RunStep("/", ROOT, (), cmd, SHELL, (), caches=(cache,))
        with pytest.raises(StepFailed, match="exit status 3"):
            broken.execute(key_of("broken"), base, RunCommand(step), output, Event())
        assert b"".join(said) == b"at work\n"
        with pytest.raises(EngineError):
            broken.close()
    engine.sweep(lambda _: False)


def test_a_cache_that_a_foreign_container_has_stays_and_that_is_said(
    engine_host: str, prefix: str, engine: DockerEngine, base: str, api: APIClient, lock: Lock
) -> None:
    events: list[Event_] = []
    one = DockerEngine(prefix, host=engine_host, lock=lock, emit=events.append)

    def run(cmd: str) -> None:
        step = RunStep("/", ROOT, (), cmd, SHELL, (), caches=(Cache("held", "/c"),))
        one.execute(key_of(cmd), base, RunCommand(step), lambda _: None, Event())

    run("echo 1 > /c/n")
    volume = next(c.name for c in one.caches() if c.id == "held")
    mount = {"Type": "volume", "Source": volume, "Target": "/held"}
    config = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mount]}}
    foreign = api.create_container_from_config(config)["Id"]
    try:
        run("echo 2 > /c/n")
    finally:
        api.remove_container(foreign)
    said = [e.message for e in events if isinstance(e, Warned)]
    assert len(said) == 1
    assert volume in said[0]
    run("test $(cat /c/n) = 1")
    one.close()


def test_all_kinds_of_files_survive(engine: DockerEngine, debian_image: str, steps: Steps) -> None:
    parent = steps.base(debian_image)
    make = (
        "cd /c; chmod 2750 .; echo a > a; ln a b; ln -s /no/where l; mkdir -m 1777 d;"
        " chown 5:6 d; truncate -s 1M sparse; mkfifo f; touch \"$(printf 'x\\377\\n y')\" .wh.q;"
        " chmod 4755 a; touch -d @1000 a; printf '%0200d' 0 > \"$(printf '%0200d' 7)\""
    )
    see = (
        "cd /c; stat -c '%n %F %a %u %g %h %s' a b d f l sparse .wh.q x* 0*; stat -c %a .;"
        " stat -c %Y a; readlink l; cat a"
    )
    first = run(engine, parent, f"{make}; {see}", cache("a"))
    assert run(engine, parent, see, cache("a")) == first
    assert b"a regular file 4755 0 0 2 2" in first


def _perl(script: str) -> str:
    """debian:12 has no setcap, but it has perl, which has system calls (x86_64: 188 is
    setxattr, 191 getxattr)."""
    return shlex.join(["perl", "-e", script])


def test_file_capabilities_survive(engine: DockerEngine, debian_image: str, steps: Steps) -> None:
    parent = steps.base(debian_image)
    names = '$f="/c/f"; $n="security.capability"; '
    value = '$v=pack("V5",0x02000001,1<<10,0,0,0); '
    give = f"open(F,'>',$f); close F; {value} print syscall(188,$f,$n,$v,20,0)"
    assert run(engine, parent, _perl(names + give), cache("a")) == b"0"
    take = '$v="\\0"x64; print syscall(191,$f,$n,$v,64)'
    got = run(engine, parent, _perl(names + take), cache("a"))
    assert got == b"20"


@pytest.mark.parametrize("at", [3, 4, 7, 8, 9, 10, 11, 12, 99])
def test_a_kill_at_any_call_leaves_a_whole_version(
    make_engine: MakeEngine,
    engine_host: str,
    base: str,
    api: APIClient,
    prefix: str,
    tmp_path: Path,
    at: int,
) -> None:
    """A process replaces the files of a cache and is killed before its ``at``-th call about
    volumes, or in the middle of it. The next visit finds the old files or the new ones."""
    wanted = cache("a")
    old = "cd /c; for i in 1 2 3 4 5 6 7 8; do echo $i > old$i; done"
    run(make_engine(), base, old, wanted)
    program = [sys.executable, "-m", "tests.engine.dying", engine_host, prefix]
    done = subprocess.run(
        [*program, str(tmp_path), base, str(at)], capture_output=True, timeout=60, check=False
    )
    if at == 99:
        assert done.stdout == b"done\n", done.stderr
    else:
        assert done.returncode == -signal.SIGKILL, done.stderr
    other = make_engine()
    other.sweep(lambda _: False)
    other.delete([KEY])
    assert volumes_of(api, prefix) in ({f"{prefix}-cache-c-a"}, set())
    names = run(other, base, "ls /c", wanted).split()
    ends = [[b"%s%d" % (word, i) for i in range(1, 9)] for word in (b"old", b"new")]
    assert names == ends[1] if at == 99 else names in ends


def test_obuilder_between_a_crash_and_the_next_visit(
    make_engine: MakeEngine, base: str, api: APIClient, prefix: str
) -> None:
    """OBuilder removes clones at its start. What was half made of one then goes; what it has
    made itself stays."""
    wanted = cache("a")
    token = {"obuild.token": "1", "obuild.cache": "a"}
    api.create_volume(f"{prefix}-cache-publish-c-a", labels={**token, "obuild.new": "gone"})
    api.create_volume(f"{prefix}-cache-c-a", labels=token)
    one = make_engine()
    one.sweep(lambda _: False)
    assert not volumes_of(api, prefix)
    run(one, base, "echo obuilder > /c/f", wanted)
    api.create_volume(f"{prefix}-cache-publish-c-a", labels={**token, "obuild.new": "gone"})
    one.sweep(lambda _: False)
    assert run(one, base, "cat /c/f", wanted) == b"obuilder\n"


def test_sweep_leaves_what_is_in_use(
    make_engine: MakeEngine, base: str, api: APIClient, prefix: str
) -> None:
    key = key_of("somebody's")
    mine, lost = f"{prefix}-cache-tmp-1-c-a", f"{prefix}-cache-tmp-2-c-a"
    api.create_volume(mine, labels={"obuild.owner": key})
    api.create_volume(lost)
    assert make_engine().sweep(lambda name: name == key) == (f"volume {lost}",)
    assert volumes_of(api, prefix) == {mine}


def _archive(*members: tuple[str, bytes, str]) -> bytes:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return stream.getvalue()


GOOD = _archive(("./f", tarfile.REGTYPE, ""))
LINK = ("l", tarfile.SYMTYPE, "/etc")
HOSTILE = [
    ("leads out", _archive(("../f", tarfile.REGTYPE, ""))),
    ("leads out", _archive(("/etc/f", tarfile.REGTYPE, ""))),
    ("l, which is no folder", _archive(LINK, ("l/passwd", tarfile.REGTYPE, ""))),
    ("leads out", _archive(("l", tarfile.LNKTYPE, "../../etc/passwd"))),
    ("no file before it", _archive(("l", tarfile.LNKTYPE, "etc/passwd"))),
    ("device", _archive(("d", tarfile.BLKTYPE, ""))),
    ("its root", _archive((".", tarfile.SYMTYPE, "/etc"))),
    ("cannot be read", b"not an archive, however long it is" * 100),
    ("end is missing", GOOD[:512]),
    ("empty file", b""),
    ("cannot be read", GOOD[:100]),
    ("cannot be read", gzip.compress(GOOD)[:40]),
    ("zstd", b"\x28\xb5\x2f\xfd" + bytes(600)),
]


def test_a_bad_archive_changes_nothing(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    run(engine, base, "echo old > /c/f", cache("a"))
    for words, archive in HOSTILE:
        with pytest.raises(EngineError, match=words):
            engine.import_cache("a", "", iter([archive]), Event())
    assert run(engine, base, "cat /c/*", cache("a")) == b"old\n"
    engine.close()
    assert volumes_of(api, prefix) == {f"{prefix}-cache-c-a"}


def test_a_cache_in_use_is_not_removed(
    make_engine: MakeEngine, base: str, api: APIClient, prefix: str, lock: Lock
) -> None:
    engine = make_engine()
    run(engine, base, "true", cache("a", sharing="shared"))
    (one,) = engine.caches()
    holding = api.create_container_from_config(
        {
            "Image": "busybox",
            "Entrypoint": ["none"],
            "HostConfig": {"Binds": [f"{one.name}:/v"]},
        },
        f"{prefix}-container-mine",
    )["Id"]
    assert engine.caches()[0].in_use
    with pytest.raises(EngineError, match="in use"):
        engine.remove_cache(one)
    api.remove_container(holding)
    held = lock(lock_of(one.name), Event(), lambda: None)
    with held, pytest.raises(EngineError, match="in use"):
        engine.remove_cache(one)
    engine.remove_cache(one)
    assert not engine.caches()
    with pytest.raises(EngineError, match="no cache"):
        engine.remove_cache(one)
