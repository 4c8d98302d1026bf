"""Caches of runs: OBuilder's kind, whose volumes both tools find, and BuildKit's.

What OBuilder does stands in ``golden/store`` and in its ``lib/docker_store.ml``.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from docker import APIClient

from obuild.engine import Lock, RunCommand
from obuild.engine.docker import DockerEngine
from obuild.engine.docker.caches.names import lock_of
from obuild.errors import BuildError, Cancelled, EngineError, StepFailed
from obuild.events import Event as Event_
from obuild.events import Warned
from obuild.ir.ops import Cache, UnixUser, User
from obuild.ir.steps import RunStep, StepSecret
from obuild.store.locks import Locks
from tests import vectors
from tests.engine.bases import ROOT, SHELL, Steps, key_of
from tests.engine.conftest import names_of
from tests.engine.dying import KEY
from tests.engine.proxy import Proxy

pytestmark = pytest.mark.engine

MakeEngine = Callable[[], DockerEngine]
Sharing = dict[str, str]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Lock]:
    """Real locks of a store."""
    folder = os.open(tmp_path, os.O_RDONLY)
    yield Locks(folder, str(tmp_path)).hold
    os.close(folder)


@pytest.fixture
def make_engine(
    engine_host: str, prefix: str, api: APIClient, clean_env: dict[str, str], lock: Lock
) -> Iterator[MakeEngine]:
    """Engines of one store, as several processes have them."""
    made: list[DockerEngine] = []

    def make() -> DockerEngine:
        one = DockerEngine(
            prefix,
            host=engine_host,
            environment=clean_env,
            visit="v1",
            lock=lock,
            emit=lambda _: None,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
    last = make()
    last.clean()
    last.close()
    assert not names_of(api, prefix)


@pytest.fixture
def engine(make_engine: MakeEngine) -> DockerEngine:
    return make_engine()


def run(
    engine: DockerEngine,
    parent: str,
    cmd: str,
    *caches: Cache,
    user: User = ROOT,
    secrets: tuple[StepSecret, ...] = (),
    cancel: Event | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> bytes:
    """What the command prints; the snapshot is removed."""
    step = RunStep("/", user, (), cmd, SHELL, (), secrets=secrets, caches=caches)
    key = key_of(repr((parent, step, threading.get_ident())))
    got: list[bytes] = []
    engine.execute(key, parent, RunCommand(step), got.append, cancel or Event(), waiting)
    engine.delete([key])
    return b"".join(got)


def cache(id: str, target: str = "/c", **options: str) -> Cache:
    return Cache(id, target, tuple(options.items()))


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


def test_what_a_run_writes_is_there_for_the_next_also_when_it_failed(
    engine: DockerEngine, base: str
) -> None:
    run(engine, base, "echo one > /c/f", cache("a"))
    with pytest.raises(StepFailed):
        run(engine, base, "cat /c/f; echo two >> /c/f; exit 3", cache("a"))
    assert run(engine, base, "cat /other/f", cache("a", "/other")) == b"one\ntwo\n"


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


def test_an_owner_that_is_asked_for_counts_where_the_image_has_a_folder(
    engine: DockerEngine, base: str, steps: Steps
) -> None:
    made = steps.run(base, "mkdir -p /home/u; chmod 700 /home/u; echo seed > /home/u/seed")
    options = (("sharing", "shared"), ("uid", "1000"), ("gid", "1000"), ("mode", "0770"))
    step = RunStep(
        "/",
        UnixUser(1000, 1000),
        (),
        "stat -c '%u:%g %a' /home/u; echo x > /home/u/x",
        SHELL,
        (),
        caches=(Cache("owned", "/home/u", options),),
    )
    said: list[bytes] = []
    engine.execute(key_of("owned"), made, RunCommand(step), said.append, Event())
    assert b"".join(said) == b"1000:1000 770\n"


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


def test_a_cancelled_run_changes_nothing(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    run(engine, base, "echo one > /c/f", cache("a"))
    cancel = Event()
    threading.Timer(1.0, cancel.set).start()
    with pytest.raises(Cancelled):
        run(engine, base, "echo two > /c/f; sleep 60", cache("a"), cancel=cancel)
    assert run(engine, base, "cat /c/f", cache("a")) == b"one\n"
    engine.close()
    assert volumes_of(api, prefix) == {f"{prefix}-cache-c-a"}


def test_the_first_of_two_runs_at_once_wins(make_engine: MakeEngine, base: str) -> None:
    """Neither sees the other's files, and of the loser nothing stays."""
    one, two = make_engine(), make_engine()
    run(one, base, "echo old > /c/f", cache("a"))
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(
            run, one, base, "echo slow > /c/slow; sleep 5; cat /c/f; ls /c", cache("a")
        )
        threading.Event().wait(1.5)
        fast = pool.submit(run, two, base, "echo fast > /c/fast; ls /c", cache("a"))
        assert fast.result() == b"f\nfast\n"
        assert not slow.done()
        assert slow.result() == b"old\nf\nslow\n"
    assert run(one, base, "ls /c", cache("a")) == b"f\nfast\n"


def test_one_cache_twice_in_a_run_and_caches_in_caches(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    """Of two clones of one cache the last counts, as in OBuilder; a cache may be mounted in
    the folder of another."""
    twice = cache("a", "/x"), cache("a", "/y")
    assert run(engine, base, "echo 1 > /x/f; echo 2 > /y/f; cat /x/f", *twice) == b"1\n"
    assert run(engine, base, "cat /c/f", cache("a")) == b"2\n"
    nested = cache("in", "/c/d/e"), cache("out", "/c")
    run(engine, base, "echo in > /c/d/e/f; echo out > /c/f", *nested)
    assert run(engine, base, "cat /c/f; find /c", cache("in")).startswith(b"in\n")
    assert b"/c/d/e\n" in run(engine, base, "cat /c/f; find /c", cache("out"))


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


def test_an_empty_cache_gets_what_the_image_has_at_the_target(
    engine: DockerEngine, base: str
) -> None:
    """Docker fills an empty volume, and OBuilder's users have got used to that."""
    assert b"passwd" in run(
        engine, base, "ls /etc; rm /etc/passwd; touch /etc/x", cache("e", "/etc")
    )
    got = run(engine, base, "ls /etc", cache("e", "/etc")).split()
    assert b"x" in got
    assert b"passwd" not in got


def test_a_name_that_docker_does_not_take(
    engine: DockerEngine, base: str, api: APIClient, prefix: str
) -> None:
    """OBuilder's escape of these holds a per cent sign, with which Docker refuses the volume."""
    odd = "opam/ärger \udcff" + "x" * 300
    run(engine, base, "echo 1 > /c/f", cache(odd))
    assert run(engine, base, "cat /c/f", cache(odd)) == b"1\n"
    assert [one.id for one in engine.caches()] == [odd]


@pytest.mark.parametrize("sharing", ["shared", "private", "locked"])
def test_caches_of_buildkit_are_kept(
    engine: DockerEngine, base: str, api: APIClient, prefix: str, sharing: str
) -> None:
    with pytest.raises(StepFailed):
        run(engine, base, "echo 1 > /c/f; exit 1", cache("a", sharing=sharing))
    assert run(engine, base, "cat /c/f", cache("a", sharing=sharing)) == b"1\n"
    assert run(engine, base, "ls /c", cache("a")) == b""
    owned = cache("a", sharing=sharing, uid="7", gid="8", mode="0711")
    assert run(engine, base, "stat -c '%u %g %a' /c", owned) == b"7 8 711\n"
    assert run(engine, base, "chmod 700 /c; ls /c", owned) == b""
    assert run(engine, base, "stat -c '%u %g %a' /c", owned) == b"7 8 700\n"
    found = {(one.id, one.sharing) for one in engine.caches()}
    assert found == {("a", sharing), ("a", "")}


def test_a_shared_cache_is_shared_at_once(make_engine: MakeEngine, base: str) -> None:
    wanted = cache("a", sharing="shared")
    with ThreadPoolExecutor(2) as pool:
        wait = "until [ -e /c/{1} ] || [ $i -gt 99 ]; do i=$((i+1)); sleep .1; done"
        cmd = "touch /c/{0}; i=0; " + wait + "; ls /c"
        pair = [
            pool.submit(run, make_engine(), base, cmd.format(*names), wanted)
            for names in (("x", "y"), ("y", "x"))
        ]
        assert [one.result() for one in pair] == [b"x\ny\n"] * 2


def test_a_locked_cache_is_waited_for(make_engine: MakeEngine, base: str) -> None:
    wanted = cache("a", sharing="locked")
    said: list[str] = []
    begun = Event()
    with ThreadPoolExecutor(2) as pool:
        one = make_engine()
        step = RunStep("/", ROOT, (), "echo; sleep 3; echo 1 > /c/f", SHELL, (), caches=(wanted,))
        key = key_of(base + "locked")
        first = pool.submit(
            one.execute, key, base, RunCommand(step), lambda _: begun.set(), Event()
        )
        assert begun.wait(20)
        cancel = Event()
        threading.Timer(0.5, cancel.set).start()
        with pytest.raises(Cancelled):
            run(make_engine(), base, "true", wanted, cancel=cancel)
        assert run(make_engine(), base, "cat /c/f", wanted, waiting=said.append) == b"1\n"
        first.result()
    assert said == ["the cache a is in use by another build"]


def test_a_private_cache_in_use_gives_another_one(
    make_engine: MakeEngine, base: str, api: APIClient, prefix: str
) -> None:
    wanted = cache("a", sharing="private")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(run, make_engine(), base, "touch /c/x; sleep 3; ls /c", wanted)
        threading.Event().wait(1.2)
        assert run(make_engine(), base, "touch /c/y; ls /c", wanted) == b"y\n"
        assert slow.result() == b"x\n"
    assert run(make_engine(), base, "ls /c", wanted) == b"x\n"
    assert volumes_of(api, prefix) == {
        f"{prefix}-cache-private-c-a",
        f"{prefix}-cache-private-1-c-a",
    }


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (cache("a", "relative"), "no absolute path"),
        (cache("a", "C:/x"), "no absolute path"),
        (cache("a", "/"), "the root"),
        (cache("a", shared="yes"), "shared"),
        (cache("a", sharing="mine"), "mine"),
        (cache("a", sharing="locked", mode="rwx"), "rwx"),
        (cache("a", uid="-1"), "-1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    engine: DockerEngine, base: str, api: APIClient, prefix: str, wrong: Cache, words: str
) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        run(engine, base, "true", wrong)
    assert caught.value.hint
    assert not volumes_of(api, prefix)


def test_two_caches_at_one_target_are_refused(engine: DockerEngine, base: str) -> None:
    with pytest.raises(BuildError, match="both be at /c"):
        run(engine, base, "true", cache("a", "/c"), cache("b", "/c/"))


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


def test_what_is_taken_out_can_be_put_in(engine: DockerEngine, base: str) -> None:
    run(engine, base, "cd /c; echo 1 > f; ln f g; ln -s f l; mkdir d; echo 2 > d/h", cache("a"))
    (one,) = engine.caches()
    data = b"".join(engine.export_cache(one, Event()))
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        assert {"./f", "./d/h"} <= set(archive.getnames())
    packed = gzip.compress(data[:900]) + gzip.compress(data[900:])
    for sharing, archive in (("", data), ("locked", packed), ("shared", lzma.compress(data))):
        pieces = iter([archive[:70], archive[70:]])
        made = engine.import_cache("b", sharing, pieces, Event())
        assert (made.id, made.sharing) == ("b", sharing)
        options = {"sharing": sharing} if sharing else {}
        see = "cd /c; cat f g l d/h; stat -c %h f"
        assert run(engine, base, see, cache("b", **options)) == b"1\n1\n1\n2\n2\n"


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
