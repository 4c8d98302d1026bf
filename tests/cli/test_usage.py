"""Everything that needs no engine: help, exit codes, what bad input gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from obuild.cli.main import COMMANDS
from tests.conftest import Obuild
from tests.vectors import cases, data


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "simple.spec"
    path.write_text('((from busybox)\n (run (shell "echo hi")))\n')
    return path


def test_version(obuild: Obuild) -> None:
    assert obuild("--version").stdout.startswith(b"obuild ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, obuild: Obuild) -> None:
    done = obuild(command, "--help")
    assert done.returncode == 0
    assert b"examples:" in done.stdout
    assert COMMANDS[command].encode()[:10].lower() in obuild("--help").stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, b"usage"),
        (["runn"], 2, b"did you mean run?"),
        (["run"], 2, b"name the build script"),
        (["run", "nope.spec"], 2, b"cannot read the build script nope.spec"),
        (["run", "--nonsense"], 2, b"unrecognized arguments"),
        (["run", "simple.spec", "--docker-memory", "lots"], 2, b"no amount of memory"),
        (["run", "simple.spec", "--docker-cpus", "0"], 2, b"above 0"),
        (["plan", "simple.spec", "--store", "zfs:tank"], 2, b"write docker:PATH"),
        (["run", "simple.spec", "--store", "zfs:tank"], 2, b"write docker:PATH"),
        (["run", "simple.spec", "--secret", "x"], 2, b"ID:PATH"),
        (["run", "simple.spec", "--secret", "x:nope"], 2, b"cannot read the secret x"),
        (["run", "simple.spec", "-t", "BAD NAME"], 2, b"is no name for an image"),
        (["run", "simple.spec", "-t", ""], 2, b"is no name for an image"),
        (["run", "simple.spec", "--platform", "foo"], 2, b"is no platform"),
        (["run", "simple.spec", "--network", ""], 2, b"name a network"),
        (["plan", "simple.spec", "nowhere"], 2, b"there is no folder nowhere"),
        (["run", "simple.spec", "simple.spec"], 2, b"is not a folder: simple.spec"),
        (["ls"], 4, b"store"),
        (["run", "simple.spec"], 3, b"hint"),
        (["healthcheck"], 3, b"hint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_exit_codes(
    arguments: list[str], code: int, words: bytes, obuild: Obuild, spec: Path
) -> None:
    done = obuild(*arguments, cwd=spec.parent)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "place", "caret", "words"),
    [
        ("((from a)", "1:1", "^", b"this ( is never closed"),
        ("((from a)))", "1:11", "^", b"this ) closes nothing"),
        ("((from a)\n (run (shel x)))", "2:7", "^^^^^^^^", b"did you mean shell?"),
        ("((from a)\n (runn (shell x)))", "2:3", "^^^^", b"did you mean run?"),
        ("((from a) (workdir))", "1:11", "^", b"workdir takes 1 argument"),
        ("((from a) (copy (from (build b)) (src x) (dst y)))", "1:11", "^", b"no build"),
        ("", "1:1", "^", b"no S-expression"),
        ('((from a) (run (shell "x)))', "1:23", "^", b"this string is never closed"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_wrong_scripts_are_shown_with_a_caret(
    command: str, text: str, place: str, caret: str, words: bytes, obuild: Obuild, tmp_path: Path
) -> None:
    (tmp_path / "bad.spec").write_text(text)
    done = obuild(command, "bad.spec", cwd=tmp_path)
    assert done.returncode == 2
    assert f"bad.spec:{place}\n".encode() in done.stderr
    assert caret.encode() in done.stderr
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_dockerfile_is_named_as_one(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("# syntax=docker/dockerfile:1\nFROM busybox\n")
    done = obuild("run", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert b"Dockerfile is a Dockerfile" in done.stderr


def test_a_folder_means_its_only_spec(obuild: Obuild, spec: Path) -> None:
    assert b"(from busybox)" in obuild("plan", ".", cwd=spec.parent).stdout
    (spec.parent / "other.spec").write_text("")
    done = obuild("plan", ".", cwd=spec.parent)
    assert done.returncode == 2
    assert b"name one of other.spec, simple.spec" in done.stderr


def test_a_script_from_standard_input(obuild: Obuild, tmp_path: Path) -> None:
    done = obuild("plan", "-", cwd=tmp_path, stdin=b"((from busybox))")
    assert done.returncode == 0
    assert b"(from busybox)" in done.stdout


def test_docker_users_spelling(obuild: Obuild, spec: Path) -> None:
    one = obuild("plan", "-f", "simple.spec", ".", cwd=spec.parent)
    assert one.returncode == 0
    assert one.stdout == obuild("plan", "simple.spec", ".", cwd=spec.parent).stdout


def test_plan_as_json(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text(
        "((build b ((from busybox))) (from busybox) (copy (from (build b)) (src a) (dst /a))"
        ' (run (shell "x")))'
    )
    done = obuild("plan", "x.spec", "--json", cwd=tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["error"] is None
    assert found["target"] is None
    assert [step["kind"] for step in found["steps"]] == ["base", "base", "copy", "run"]
    assert found["steps"][0]["within"] == ["b"]
    assert found["steps"][1]["reason"] is None
    assert "build b" in found["steps"][2]["reason"]
    assert found["steps"][3]["key"] is None


def test_a_plan_that_must_fail_has_the_steps_so_far(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text("((from busybox) (copy (src nope) (dst /x)))")
    done = obuild("plan", "x.spec", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["error"] == 'Source path "nope" not found'
    assert len(found["steps"]) == 1
    assert b"x.spec:1:17" in done.stderr


def test_a_context_that_is_no_folder(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text("((from busybox) (copy (src a) (dst /x)))")
    done = obuild("plan", "x.spec", "x.spec", cwd=tmp_path)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["garbage://x", "tcp://", "fd://3"])
def test_an_address_that_is_none(host: str, obuild: Obuild, spec: Path) -> None:
    done = obuild("run", "simple.spec", cwd=spec.parent, env={"DOCKER_HOST": host})
    assert done.returncode == 3
    assert b"no address of a Docker daemon" in done.stderr


@pytest.mark.skipif(find_spec("paramiko") is not None, reason="paramiko is here")
def test_ssh_without_its_package(obuild: Obuild, spec: Path) -> None:
    done = obuild("run", "simple.spec", cwd=spec.parent, env={"DOCKER_HOST": "ssh://nowhere"})
    assert done.returncode == 3
    assert b"obuild[ssh]" in done.stderr


def test_a_folder_that_was_removed_below_us(obuild: Obuild, spec: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir ../gone && exec "$0" -m obuild plan {spec} {spec.parent}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["plan", "dockerfile -f"])
def test_standard_output_that_is_full(command: str, obuild: Obuild, spec: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m obuild {command} {spec} > /dev/full', sys.executable],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_plan_reads_no_store(obuild: Obuild, spec: Path, store_path: Path) -> None:
    assert obuild("plan", "simple.spec", cwd=spec.parent).returncode == 0
    assert not store_path.exists()


@pytest.mark.parametrize("style", ["plain-unix", "buildkit-windows"])
def test_dockerfile_as_a_program(style: str, obuild: Obuild, tmp_path: Path) -> None:
    case = next(case for case in cases("spec/spec.json") if case["name"] == "run-invalid-utf8")
    (tmp_path / "x.spec").write_bytes(data(case["spec"]))
    mounts, escape = style.split("-")
    options = ["--buildkit"] if mounts == "buildkit" else []
    done = obuild("dockerfile", "-f", "x.spec", "--escape", escape, *options, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == data(case["dockerfile"][style]["stdout"])


def test_check_tells_errors_warnings_and_clean(obuild: Obuild, spec: Path) -> None:
    assert obuild("check", "simple.spec", cwd=spec.parent).returncode == 0
    doubtful = spec.parent / "doubtful.spec"
    doubtful.write_text(
        "((build unused ((from busybox))) (from busybox) (copy (src a b) (dst /x)))"
    )
    done = obuild("check", "doubtful.spec", "--json", cwd=spec.parent)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {one["severity"] for one in found} == {"warning"}
    assert [one["line"] for one in found] == [1, 1]
    (spec.parent / "bad.spec").write_text("((from")
    assert obuild("check", "doubtful.spec", "bad.spec", cwd=spec.parent).returncode == 2


def test_a_store_that_cannot_be_made(obuild: Obuild, spec: Path) -> None:
    (spec.parent / "file").write_text("")
    done = obuild("run", "simple.spec", "--store", "docker:file", cwd=spec.parent)
    assert done.returncode == 4
    assert b"hint" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, obuild: Obuild) -> None:
    done = obuild("completion", shell)
    assert done.returncode == 0
    assert b"healthcheck" in done.stdout
    assert b"obuilder-keys" in done.stdout
