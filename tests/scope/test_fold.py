"""The scope fold, op by op."""

from __future__ import annotations

import pytest

from obuild.errors import SecretError
from obuild.ir.ops import (
    Cache,
    Comment,
    Copy,
    Env,
    NamedUser,
    Op,
    Run,
    Secret,
    Shell,
    UnixUser,
    UserOp,
    Workdir,
)
from obuild.ir.steps import CopyStep, RunStep
from obuild.platforms import LINUX, WINDOWS, Platform
from obuild.scope import Scope, apply, start


def fold(*ops: Op, platform: Platform = LINUX, network: str | None = None) -> Scope:
    scope = start(platform, network)
    for op in ops:
        scope, _ = apply(scope, op, {})
    return scope


def step(op: Op, scope: Scope | None = None) -> RunStep | CopyStep:
    _, made = apply(scope or start(LINUX), op, {"s": b"value"})
    assert made is not None
    return made


def test_a_stage_starts_as_its_platform_says() -> None:
    linux, windows = start(LINUX), start(WINDOWS)
    assert (linux.workdir, linux.user, linux.shell) == (
        "/",
        UnixUser(0, 0),
        ("/usr/bin/env", "bash", "-c"),
    )
    assert (windows.workdir, windows.user, windows.shell) == (
        "C:/",
        NamedUser("ContainerAdministrator"),
        ("cmd", "/S", "/C"),
    )


def test_only_run_and_copy_make_steps() -> None:
    for op in (Comment("x"), Workdir("/x"), Shell(("a",)), Env("A", "1"), UserOp(UnixUser(1, 2))):
        assert apply(start(LINUX), op, {})[1] is None


@pytest.mark.parametrize(
    ("paths", "workdir"),
    [
        (["hall"], "//hall"),
        (["/hall/", "stairs/", "attic"], "/hall//stairs//attic"),
        (["", "hall", ""], "///hall/"),
        (["/a", ".."], "/a/.."),
    ],
)
def test_workdirs_are_joined_untidied(paths: list[str], workdir: str) -> None:
    assert fold(*map(Workdir, paths)).workdir == workdir


@pytest.mark.parametrize("path", ["C:\\lamp", "C:/lamp", "/lamp", "\\lamp", "d:x"])
def test_absolute_paths_of_windows_guests(path: str) -> None:
    assert fold(Workdir(path), platform=WINDOWS).workdir == path
    assert fold(Workdir("lamp"), platform=WINDOWS).workdir == "C://lamp"


def test_the_latest_variable_comes_first_and_once() -> None:
    scope = fold(Env("A", "1"), Env("B", "2"), Env("A", "3"))
    assert scope.env == (("A", "3"), ("B", "2"))


@pytest.mark.parametrize(
    ("workdir", "dst", "destination"),
    [("/", "b", "/b"), ("/hall/", "p", "/hall/p"), ("/hall", "./", "/hall/./"), ("/a", "/b", "/b")],
)
def test_destinations_are_joined_without_doubling_a_slash(
    workdir: str, dst: str, destination: str
) -> None:
    made = step(Copy(("f",), dst), fold(Workdir(workdir)))
    assert isinstance(made, CopyStep)
    assert made.destination == destination


def test_a_run_has_everything_that_it_inherits() -> None:
    scope = fold(Workdir("/w"), UserOp(UnixUser(3, 4)), Env("A", "1"), Shell(("sh", "-c")))
    run = Run("make", (Cache("c", "/c"),), (), (Secret("s", "/s"),))
    made = step(run, scope)
    assert isinstance(made, RunStep)
    assert (made.workdir, made.user, made.env, made.shell, made.cmd) == (
        "/w",
        UnixUser(3, 4),
        (("A", "1"),),
        ("sh", "-c"),
        "make",
    )
    assert made.secrets[0].value == b"value"
    assert "value" not in repr(made), "a secret is never shown"


def test_the_default_network_is_for_runs_that_name_none() -> None:
    scope = fold(network="bridge")
    assert step(Run("x"), scope).network == ("bridge",)  # type: ignore[union-attr]
    assert step(Run("x", network=("host",)), scope).network == ("host",)  # type: ignore[union-attr]
    assert step(Run("x")).network == ()  # type: ignore[union-attr]


def test_a_secret_that_was_not_given() -> None:
    with pytest.raises(SecretError, match="no value was given for the secret 'key'"):
        apply(start(LINUX), Run("x", secrets=(Secret("key", "/k"),)), {})
