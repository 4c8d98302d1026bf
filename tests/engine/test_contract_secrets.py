"""The contract of every engine: secrets of runs."""

from __future__ import annotations

from threading import Event

import pytest

from obuild.engine import Engine, RunCommand
from obuild.errors import BuildError, StepFailed
from obuild.ir.ops import Cache, UnixUser, User
from obuild.ir.steps import RunStep, StepSecret
from tests.engine.bases import ROOT, SHELL, Steps, key_of

pytestmark = [pytest.mark.engine, pytest.mark.contract]

VALUE = b"pa55-word-of-the-tests"


def step(
    cmd: str,
    *secrets: StepSecret,
    user: User = ROOT,
    workdir: str = "/",
    caches: tuple[Cache, ...] = (),
    shell: tuple[str, ...] = SHELL,
) -> RunStep:
    return RunStep(workdir, user, (), cmd, shell, (), secrets=secrets, caches=caches)


def secret(target: str, value: bytes = VALUE, **options: str) -> StepSecret:
    return StepSecret("code", target, value, tuple(options.items()))


def run(engine: Engine, parent: str, it: RunStep, cancel: Event | None = None) -> tuple[str, bytes]:
    """The key of the result, and what was printed."""
    key = key_of(repr((parent, it)))
    got: list[bytes] = []
    engine.execute(key, parent, RunCommand(it), got.append, cancel or Event())
    return key, b"".join(got)


@pytest.mark.parametrize("user", [ROOT, UnixUser(1000, 100)])
def test_a_file_for_the_user_alone_and_read_only(engine: Engine, base: str, user: User) -> None:
    see = "exec 2>&1; cat /run/s/code; stat -c ' %a %u %g' /run/s/code; ls /run/s"
    see += "; echo x > /run/s/code || :"
    _, got = run(engine, base, step(see, secret("/run/s/code"), user=user))
    uid, gid = (user.uid, user.gid) if isinstance(user, UnixUser) else (0, 0)
    assert got.startswith(VALUE + b" 400 %d %d\ncode\n" % (uid, gid))
    assert b"Read-only" in got or b"Permission denied" in got


def test_options(engine: Engine, base: str) -> None:
    see = "stat -c '%a %u %g' /s"
    its = secret("/s", mode="0640", uid="7", gid="8", required="true")
    assert run(engine, base, step(see, its))[1] == b"640 7 8\n"


def test_an_existing_file_is_what_it_was(engine: Engine, steps: Steps, base: str) -> None:
    made, _ = run(engine, base, step("mkdir /d; echo before > /d/f; ln -s /d /l; ln -s f /d/g"))
    see = "cat /l/f; cat /l/g"
    key, got = run(engine, made, step(see, secret("/l/f"), secret("/d/g", b"other")))
    assert got in (VALUE * 2, b"other" * 2)  # /d/g is /d/f: one of them is above
    assert steps.see(key, "cat /d/f") == b"before\n"


def test_what_the_command_does_to_mount_points(engine: Engine, steps: Steps, base: str) -> None:
    """It may move the folder of one away, and make something of its own there."""
    cmd = "mv /a /moved; mkdir -p /a/b; echo mine > /a/b/code"
    key, _ = run(engine, base, step(cmd, secret("/a/b/code")))
    assert steps.see(key, "cat /a/b/code /moved/b/* 2>/dev/null; true") == b"mine\n"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (secret("relative"), "no absolute path"),
        (secret("/etc"), "a folder there"),
        (secret("/etc/"), "is a folder"),
        (secret("/etc/passwd/code"), "in the way"),
        (secret("/s", colour="red"), "not known: colour"),
        (secret("/s", mode="9"), "mode '9'"),
        (secret("/s", b"\xff\xfe", env="S"), "not UTF-8"),
        (secret("/s", env="A=B"), "env 'A=B'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    engine: Engine, base: str, wrong: StepSecret, words: str
) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        run(engine, base, step("true", wrong))
    assert caught.value.hint
    assert [snapshot.key for snapshot in engine.list()] == [base]
    assert engine.sweep(lambda _: False) == ()


def test_two_at_one_target_are_refused(engine: Engine, base: str) -> None:
    with pytest.raises(BuildError, match="both be at /s"):
        run(engine, base, step("true", secret("/s"), secret("/s", b"x")))


def test_large_and_odd_values(engine: Engine, base: str) -> None:
    for value in (b"", b"\0\xff\n", bytes(700_000)):
        it = step(f"wc -c < /s; : {len(value)}", secret("/s", value))
        assert run(engine, base, it)[1] == b"%d\n" % len(value)


def test_nothing_remains_in_what_the_run_makes(engine: Engine, steps: Steps, base: str) -> None:
    """No value and no mount point; what the run itself made is there."""
    cmd = "cat /a/b/code /two > /dev/null; echo out > /out; mkdir -p /var/mine; touch /var/mine/x"
    before = steps.see(base, "find / -xdev | sort").split()
    key, _ = run(engine, base, step(cmd, secret("/a/b/code"), secret("/two")))
    after = steps.see(key, "find / -xdev | sort").split()
    assert set(after) - set(before) == {b"/out", b"/var/mine", b"/var/mine/x"}


def test_a_variable_is_there_for_the_run_alone(engine: Engine, steps: Steps, base: str) -> None:
    its = step('echo "$CODE"; cat /run/code', secret("/run/code", env="CODE"))
    key, got = run(engine, base, its)
    assert got == VALUE + b"\n" + VALUE
    engine.restore(key, base)
    assert engine.inspect(key).config == engine.inspect(base).config
    assert steps.see(key, 'echo "${CODE-unset}"') == b"unset\n"


def test_nothing_stays_of_a_run_that_failed(engine: Engine, base: str) -> None:
    with pytest.raises(StepFailed):
        run(engine, base, step("cat /s; exit 3", secret("/s")))
    assert [snapshot.key for snapshot in engine.list()] == [base]
    assert engine.sweep(lambda _: False) == ()
