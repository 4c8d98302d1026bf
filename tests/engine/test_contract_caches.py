"""The contract of every engine: caches of runs."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Event

import pytest

from obuild.engine import Engine, RunCommand
from obuild.errors import BuildError, Cancelled, StepFailed
from obuild.ir.ops import Cache, UnixUser, User
from obuild.ir.steps import RunStep, StepSecret
from tests.engine.bases import ROOT, SHELL, Steps, key_of
from tests.engine.conftest import MakeEngine

pytestmark = [pytest.mark.engine, pytest.mark.contract]


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


def run(
    engine: Engine,
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


def test_what_a_run_writes_is_there_for_the_next_also_when_it_failed(
    engine: Engine, base: str
) -> None:
    run(engine, base, "echo one > /c/f", cache("a"))
    with pytest.raises(StepFailed):
        run(engine, base, "cat /c/f; echo two >> /c/f; exit 3", cache("a"))
    assert run(engine, base, "cat /other/f", cache("a", "/other")) == b"one\ntwo\n"


def test_an_owner_that_is_asked_for_counts_where_the_image_has_a_folder(
    engine: Engine, base: str, steps: Steps
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


def test_a_cancelled_run_changes_nothing(engine: Engine, base: str) -> None:
    run(engine, base, "echo one > /c/f", cache("a"))
    cancel = Event()
    threading.Timer(1.0, cancel.set).start()
    with pytest.raises(Cancelled):
        run(engine, base, "echo two > /c/f; sleep 60", cache("a"), cancel=cancel)
    assert run(engine, base, "cat /c/f", cache("a")) == b"one\n"
    assert [one.id for one in engine.caches()] == ["a"]


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


def test_one_cache_twice_in_a_run_and_caches_in_caches(engine: Engine, base: str) -> None:
    """Of two clones of one cache the last counts, as in OBuilder; a cache may be mounted in
    the folder of another."""
    twice = cache("a", "/x"), cache("a", "/y")
    assert run(engine, base, "echo 1 > /x/f; echo 2 > /y/f; cat /x/f", *twice) == b"1\n"
    assert run(engine, base, "cat /c/f", cache("a")) == b"2\n"
    nested = cache("in", "/c/d/e"), cache("out", "/c")
    run(engine, base, "echo in > /c/d/e/f; echo out > /c/f", *nested)
    assert run(engine, base, "cat /c/f; find /c", cache("in")).startswith(b"in\n")
    assert b"/c/d/e\n" in run(engine, base, "cat /c/f; find /c", cache("out"))


def test_an_empty_cache_gets_what_the_image_has_at_the_target(engine: Engine, base: str) -> None:
    """Docker fills an empty volume, and OBuilder's users have got used to that."""
    assert b"passwd" in run(
        engine, base, "ls /etc; rm /etc/passwd; touch /etc/x", cache("e", "/etc")
    )
    got = run(engine, base, "ls /etc", cache("e", "/etc")).split()
    assert b"x" in got
    assert b"passwd" not in got


def test_a_name_that_docker_does_not_take(engine: Engine, base: str) -> None:
    """OBuilder's escape of these holds a per cent sign, with which Docker refuses the volume."""
    odd = "opam/ärger \udcff" + "x" * 300
    run(engine, base, "echo 1 > /c/f", cache(odd))
    assert run(engine, base, "cat /c/f", cache(odd)) == b"1\n"
    assert [one.id for one in engine.caches()] == [odd]


@pytest.mark.parametrize("sharing", ["shared", "private", "locked"])
def test_caches_of_buildkit_are_kept(engine: Engine, base: str, sharing: str) -> None:
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


def test_a_private_cache_in_use_gives_another_one(make_engine: MakeEngine, base: str) -> None:
    wanted = cache("a", sharing="private")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(run, make_engine(), base, "touch /c/x; sleep 3; ls /c", wanted)
        threading.Event().wait(1.2)
        assert run(make_engine(), base, "touch /c/y; ls /c", wanted) == b"y\n"
        assert slow.result() == b"x\n"
    assert run(make_engine(), base, "ls /c", wanted) == b"x\n"
    assert len(make_engine().caches()) == 2


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
    engine: Engine, base: str, wrong: Cache, words: str
) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        run(engine, base, "true", wrong)
    assert caught.value.hint
    assert not engine.caches()


def test_two_caches_at_one_target_are_refused(engine: Engine, base: str) -> None:
    with pytest.raises(BuildError, match="both be at /c"):
        run(engine, base, "true", cache("a", "/c"), cache("b", "/c/"))


def test_what_is_taken_out_can_be_put_in(engine: Engine, base: str) -> None:
    run(engine, base, "cd /c; echo 1 > f; ln f g; ln -s f l; mkdir d; echo 2 > d/h", cache("a"))
    (one,) = engine.caches()
    data = b"".join(engine.export_cache(one, Event()))
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    assert {"f", "d/h"} <= names
    packed = gzip.compress(data[:900]) + gzip.compress(data[900:])
    for sharing, archive in (("", data), ("locked", packed), ("shared", lzma.compress(data))):
        pieces = iter([archive[:70], archive[70:]])
        made = engine.import_cache("b", sharing, pieces, Event())
        assert (made.id, made.sharing) == ("b", sharing)
        options = {"sharing": sharing} if sharing else {}
        see = "cd /c; cat f g l d/h; stat -c %h f"
        assert run(engine, base, see, cache("b", **options)) == b"1\n1\n1\n2\n2\n"
