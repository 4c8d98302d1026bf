"""``run`` and ``build`` on real engines, as a user types them."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import leftovers
from tests.conftest import Obuild
from tests.setup import client
from tests.vectors import cases, plant

pytestmark = pytest.mark.engine

SPEC = """\
((from busybox)
 (shell /bin/sh -c)
 (env WHO world)
 (workdir /work)
 (run (shell "echo hello $WHO > greeting; pwd"))
 (copy (src note.txt) (dst /notes/))
 (user (uid 1000) (gid 100))
 (run (shell "cat greeting /notes/note.txt; id -u")))
"""
GOT = re.compile(rb'Got: "([0-9a-f]{64})"\n\Z')


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "simple.spec").write_text(SPEC)
    (folder / "note.txt").write_text("a note\n")
    return folder


def _config(host: str, name: str) -> dict[str, Any]:
    with client.connect(host) as api:
        found: dict[str, Any] = api.inspect_image(name)
    return found


def _containers(host: str, prefix: str) -> list[str]:
    return [
        name
        for kind, name in leftovers.objects(host)
        if kind == "container" and name.startswith(prefix)
    ]


def test_first_and_second_run(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    first = obuild("run", "simple.spec", cwd=project)
    assert first.returncode == 0, first.stderr
    assert GOT.search(first.stdout)
    assert b"hello world" in first.stderr
    assert b"1000" in first.stderr
    assert b"all built" in first.stderr
    second = obuild("run", "simple.spec", cwd=project)
    assert second.stdout == first.stdout
    assert b"all cached" in second.stderr
    assert b"hello world" not in second.stderr
    replayed = obuild("run", "simple.spec", "--replay-logs", cwd=project)
    assert b"hello world" in replayed.stderr
    quiet = obuild("run", "-q", "simple.spec", cwd=project)
    assert quiet.stderr == b""
    key = GOT.search(first.stdout)[1]  # type: ignore[index]
    assert quiet.stdout == key + b"\n"
    assert not _containers(engine_host, leftovers.prefix_of(store_path))


def test_the_result_has_the_base_config_and_nothing_of_the_runs(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str, base_image: str
) -> None:
    done = obuild("run", "-q", "simple.spec", cwd=project)
    assert done.returncode == 0, done.stderr
    name = f"{leftovers.prefix_of(store_path)}image-{done.stdout.decode().strip()}"
    result, base = _config(engine_host, name), _config(engine_host, base_image)
    assert _settings(result) == _settings(base)
    assert len(result["RootFS"]["Layers"]) == len(base["RootFS"]["Layers"]) + 2


def _settings(image: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what an engine adds of its own: empty and null are one."""
    return {name: value for name, value in image["Config"].items() if value}


def test_a_name_gets_the_last_scope(obuild: Obuild, project: Path, engine_host: str) -> None:
    name = "obuild-test/sealed:1"
    done = obuild("run", "simple.spec", "-t", name, cwd=project)
    assert done.returncode == 0, done.stderr
    try:
        config = _config(engine_host, name)["Config"]
        assert config["WorkingDir"] == "/work"
        assert config["User"] == "1000:100"
        assert config["Shell"] == ["/bin/sh", "-c"]
        assert "WHO=world" in config["Env"]
        assert obuild("run", "simple.spec", "-t", name, cwd=project).stdout == done.stdout
    finally:
        with client.connect(engine_host) as api:
            api.remove_image(name)


def test_a_failing_step(obuild: Obuild, tmp_path: Path, store_path: Path, engine_host: str) -> None:
    (tmp_path / "x.spec").write_text(
        '((from busybox) (shell /bin/sh -c) (run (shell "echo fine"))\n'
        ' (run (shell "echo cracked; exit 3"))\n (run (shell "echo never")))'
    )
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    for words in (b"x.spec:2", b"exit code 3", b"cracked", b"no network", b"obuild log"):
        assert words in done.stderr
    assert b"never" not in done.stderr
    assert b"Traceback" not in done.stderr
    prefix = leftovers.prefix_of(store_path)
    left = [name for _, name in leftovers.objects(engine_host) if name.startswith(prefix)]
    assert not [name for name in left if "tmp" in name or "container" in name]
    assert len(obuild("ls", cwd=tmp_path).stdout.splitlines()) == 3
    again = obuild("run", "x.spec", cwd=tmp_path)
    assert b"2 cached" in again.stderr


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("((from obuild-test/nonesuch:1))", 3, b"obuild-test/nonesuch:1"),
        ("((from busybox) (run (network nonesuch) (shell x)))", 3, b"nonesuch"),
        ("((from busybox) (shell /no/such/shell) (run (shell x)))", 1, b"/no/such/shell"),
        ("((from busybox) (user (uid -1) (gid 0)) (run (shell x)))", 1, b"no user -1:0"),
        ("((from busybox) (user (uid 99999999999) (gid 0)) (run (shell x)))", 1, b"no user"),
        ('((from busybox) (env "" x) (run (shell x)))', 1, b"has no name"),
        ("((from busybox) (run (network host none) (shell x)))", 1, b"stand alone"),
        ('((from ""))', 3, b"an image must have a name"),
        ("((from busybox) (copy (src nope) (dst /x)))", 1, b'Source path "nope" not found'),
        ("((from busybox) (copy (src ../x) (dst /x)))", 1, b"Can't use .. in source paths!"),
        ("((from busybox) (copy (src pipe) (dst /x)))", 1, b"Not a regular file: pipe"),
        ("((from busybox) (copy (src x.spec x.spec) (dst /x)))", 1, b"cannot all become /x"),
    ],
)
def test_bad_input(
    spec: str,
    code: int,
    words: bytes,
    obuild: Obuild,
    tmp_path: Path,
    store_path: Path,
    engine_host: str,
) -> None:
    (tmp_path / "x.spec").write_text(spec)
    os.mkfifo(tmp_path / "pipe")
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert b"x.spec:1" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not _containers(engine_host, leftovers.prefix_of(store_path))


CASES = {case["name"]: case for case in cases("keys/stdout.json")}


@pytest.mark.parametrize("name", CASES)
def test_build_prints_what_the_reference_prints(
    name: str, obuild: Obuild, tmp_path: Path, debian_image: str
) -> None:
    case = CASES[name]
    plant(tmp_path / "context", case["context"])
    (tmp_path / "x.spec").write_text(case["spec"])
    given, values = [], []
    for secret in case["secrets"]:
        value = base64.b64decode(secret["value_b64"])
        (tmp_path / secret["id"]).write_bytes(value)
        given.append(f"--secret={secret['id']}:{secret['id']}")
        values.append(value.decode())
    for run in ("first_run", "second_run"):
        done = obuild("build", "-f", "x.spec", *given, "context", cwd=tmp_path)
        assert done.returncode == case[run]["exit_code"], done.stderr
        printed = done.stdout.decode()
        assert not any(value.strip() in printed for value in values)
        assert _plain(printed, values) == _plain(case[run]["stdout"], values)


def _plain(text: str, secrets: list[str]) -> list[str]:
    """Without what docker's and tar's own commands print; secrets blanked."""
    dropped = re.compile(
        r"sha256:[0-9a-f]{64}\n|obuilder-[0-9a-f]{7}-container-[0-9a-f]{64}\n"
        r"|(?:Untagged|Deleted): .*\n|Using default tag: latest\n|^(?:bell|bell\.txt|rope\.txt)\n",
        re.MULTILINE,
    )
    for value in secrets:
        text = text.replace(value, "***")
    lines = dropped.sub("", text).split("\n")
    # The two streams of a container are two pipes: Docker keeps no order between them.
    both = ["to stderr", "to stdout"]
    for index in range(len(lines) - 1):
        if lines[index : index + 2] == both:
            lines[index : index + 2] = both[::-1]
    return lines


def test_json_progress(obuild: Obuild, project: Path) -> None:
    done = obuild("run", "simple.spec", "--progress", "json", cwd=project)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[-1]["event"] == "build-finished"
    assert done.stdout == b'Got: "%s"\n' % events[-1]["key"].encode()
    saved = [event for event in events if event["event"] == "step-saved"]
    assert len(saved) == 4


def test_verbose_calls_can_be_repeated_by_hand(obuild: Obuild, project: Path) -> None:
    done = obuild("run", "simple.spec", "-v", cwd=project)
    text = done.stderr.decode()
    assert re.search(
        r"docker run -i --name obuilder-[0-9a-f]{7}-container-[0-9a-f]{64} .*--entrypoint /bin/sh "
        r".*--user 0:0 .*--network none .*-c 'echo hello \$WHO > greeting; pwd'",
        text,
    )
    assert "docker commit" in text


def test_the_stored_steps_commands(obuild: Obuild, project: Path, engine_host: str) -> None:
    done = obuild("run", "-q", "simple.spec", cwd=project)
    key = done.stdout.decode().strip()
    rows = json.loads(obuild("ls", "--json").stdout)
    assert [row["kind"] for row in rows].count("run") == 2
    assert key in [row["key"] for row in rows]
    assert obuild("log", key[:10]).stdout == b"hello world\na note\n1000\n"
    sizes = json.loads(obuild("df", "--json").stdout)["steps"]
    assert {step["key"] for step in sizes} == {row["key"] for row in rows}
    base = next(row["key"] for row in rows if row["parent"] is None)
    removed = obuild("delete", base[:12])
    assert removed.returncode == 0
    assert removed.stdout.count(b"Removing ") == 4
    assert json.loads(obuild("ls", "--json").stdout) == []
    assert obuild("delete", base[:12]).returncode == 2


def test_clean_leaves_nothing(
    obuild: Obuild, project: Path, store_path: Path, engine_host: str
) -> None:
    obuild("run", "simple.spec", cwd=project)
    done = obuild("clean")
    assert done.returncode == 0
    assert done.stdout.endswith(b"Removed 4 items\n")
    prefix = leftovers.prefix_of(store_path)
    assert not [name for _, name in leftovers.objects(engine_host) if name.startswith(prefix)]
    assert list((store_path / "logs").iterdir()) == []


def test_healthcheck(obuild: Obuild) -> None:
    done = obuild("healthcheck", "busybox")
    assert done.returncode == 0, done.stderr
    assert b"ocker" in done.stdout


LONG = '((from busybox) (shell /bin/sh -c) (run (shell "echo started; sleep 60")))'


def _start(environ: dict[str, str], store: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "obuild", *arguments],
        env={**environ, "OBUILD_STORE": f"docker:{store}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _await(process: subprocess.Popen[bytes], words: bytes) -> None:
    """Read standard error until ``words`` stand in it."""
    assert process.stderr is not None
    seen = b""
    while words not in seen:
        chunk = os.read(process.stderr.fileno(), 65536)
        assert chunk, seen
        seen += chunk


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_cleans_up(
    number: int, docker_env: dict[str, str], tmp_path: Path, store_path: Path, engine_host: str
) -> None:
    (tmp_path / "long.spec").write_text(LONG)
    process = _start(docker_env, store_path, "run", str(tmp_path / "long.spec"))
    _await(process, b"started")
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 15
    assert out == b""
    assert b"Traceback" not in err
    prefix = leftovers.prefix_of(store_path)
    left = [name for _, name in leftovers.objects(engine_host) if name.startswith(prefix)]
    assert not [name for name in left if "container" in name or "tmp" in name]


@pytest.mark.parametrize("how", ["twice", "kill"])
def test_what_the_dead_leave_is_removed_by_the_next_run(
    how: str,
    docker_env: dict[str, str],
    tmp_path: Path,
    store_path: Path,
    engine_host: str,
    obuild: Obuild,
    project: Path,
) -> None:
    (tmp_path / "long.spec").write_text(LONG)
    assert obuild("run", "simple.spec", cwd=project).returncode == 0
    process = _start(docker_env, store_path, "run", str(tmp_path / "long.spec"))
    _await(process, b"started")
    if how == "twice":
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    else:
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGKILL)
    done = obuild("run", "simple.spec", cwd=project)  # all of it is stored
    assert done.returncode == 0, done.stderr
    assert b"all cached" in done.stderr
    assert not _containers(engine_host, leftovers.prefix_of(store_path))


def test_two_runs_at_once_share_the_work(
    docker_env: dict[str, str], tmp_path: Path, store_path: Path, obuild: Obuild
) -> None:
    (tmp_path / "x.spec").write_text(
        '((from busybox) (shell /bin/sh -c) (run (shell "echo started; sleep 2; date +%N")))'
    )
    first = _start(docker_env, store_path, "run", str(tmp_path / "x.spec"))
    _await(first, b"started")
    second = obuild("run", "x.spec", cwd=tmp_path)
    out, _ = first.communicate(timeout=60)
    assert first.returncode == second.returncode == 0
    assert out == second.stdout
    assert b"1 built" not in second.stderr
    assert len(obuild("ls").stdout.splitlines()) == 3


@pytest.mark.parametrize("command", ["clean", "delete"])
def test_what_a_build_uses_is_not_removed(
    command: str, docker_env: dict[str, str], tmp_path: Path, store_path: Path, obuild: Obuild
) -> None:
    (tmp_path / "long.spec").write_text(LONG.replace("60", "4"))
    process = _start(docker_env, store_path, "run", str(tmp_path / "long.spec"))
    _await(process, b"started")
    base = json.loads(obuild("ls", "--json").stdout)[0]["key"]
    refused = obuild(command, *([base] if command == "delete" else []))
    assert refused.returncode == 4
    assert b"a build runs on this store" in refused.stderr
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_several_runs_at_once_disturb_nobody(
    docker_env: dict[str, str], project: Path, store_path: Path
) -> None:
    """The same spec from the start, and with a sealed result, in four processes."""
    name = "obuild-test/shared:1"
    running = [
        _start(docker_env, store_path, "run", str(project / "simple.spec"), "-t", name)
        for _ in range(4)
    ]
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    try:
        assert [code for _, code in ended] == [0] * 4, ended
        assert len({out for (out, _), _ in ended}) == 1
        assert not [err for (_, err), _ in ended if b"left behind" in err]
    finally:
        with client.connect(docker_env["DOCKER_HOST"]) as api:
            api.remove_image(name)


def test_json_is_json_when_a_build_fails(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text('((from busybox) (shell /bin/sh -c) (run (shell "exit 4")))')
    done = obuild("run", "x.spec", "--progress", "json", cwd=tmp_path)
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.splitlines()]
    failed = next(event for event in events if event["event"] == "step-failed")
    assert failed["status"] == 4
    assert "^" in failed["excerpt"][1]


@pytest.mark.parametrize("target", ["/file", "/sub/file", "/missing"])
def test_a_link_in_the_last_place_is_replaced(target: str, obuild: Obuild, tmp_path: Path) -> None:
    """As tar does it: what the link led to stays as it was."""
    (tmp_path / "f").write_text("new")
    (tmp_path / "x.spec").write_text(
        f"""((from busybox) (shell /bin/sh -c)
        (run (shell "mkdir /sub; echo old > /file; echo old > /sub/file; ln -s {target} /link"))
        (copy (src f) (dst /link))
        (run (shell "test ! -L /link && cat /link /file /sub/file")))"""
    )
    done = obuild("run", "-q", "x.spec", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert obuild("log", done.stdout.decode().strip()).stdout == b"newold\nold\n"


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_standard_stream(
    closed: int, docker_env: dict[str, str], project: Path, store_path: Path
) -> None:
    command = f'exec "$0" -m obuild run simple.spec {closed}>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=project,
        env={**docker_env, "OBUILD_STORE": f"docker:{store_path}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    if closed == 1:
        assert done.returncode == 1
        assert b"standard output was closed" in done.stderr
    else:
        assert done.returncode == 0
        assert GOT.search(done.stdout)
    assert b"Traceback" not in done.stderr


def test_output_that_would_act_on_a_terminal_does_not(obuild: Obuild, tmp_path: Path) -> None:
    (tmp_path / "x.spec").write_text(
        r"""((from busybox) (shell /bin/sh -c)
 (run (shell "printf '\\033[2J[/bold]\\rdone\\n\\377\\000'
 head -c 300000 /dev/zero | tr '\\0' y")))"""
    )
    done = obuild("run", "x.spec", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-400:]
    assert b"\x1b[2J" not in done.stderr
    assert done.stderr.count(b"y") >= 300000
    key = GOT.search(done.stdout)[1].decode()  # type: ignore[index]
    log = obuild("log", key).stdout
    assert log.startswith(b"\x1b[2J[/bold]\rdone\n\xff\x00")
    assert log.endswith(b"y" * 300000)


def test_plan_and_run_agree(obuild: Obuild, project: Path) -> None:
    planned = json.loads(obuild("plan", "simple.spec", "--json", cwd=project).stdout)
    done = obuild("run", "-q", "simple.spec", cwd=project)
    assert done.stdout.decode().strip() == planned["target"]


def test_files_change_while_the_store_is_used(obuild: Obuild, project: Path) -> None:
    """One byte misses exactly the steps that see it; a touch misses none."""
    obuild("run", "simple.spec", cwd=project)
    os.utime(project / "note.txt", (1, 1))
    assert b"all cached" in obuild("run", "simple.spec", cwd=project).stderr
    (project / "note.txt").write_text("A note\n")
    assert b"2 cached, 2 built" in obuild("run", "simple.spec", cwd=project).stderr
