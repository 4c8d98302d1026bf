"""The sample of OBuilder's article on its Docker backend (its documentation, ``doc/windows.mld``)
on a played Windows daemon: the same commands, ids and last line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import leftovers
from tests.program import Obuild
from tests.windows.daemon import BASE, Daemon

STORE = "--store=docker:./var"

SPEC = f"""\
((from {BASE}) ; A
 (run (shell "echo hello > world")) ; B
 (run (shell "type world"))) ; C
"""
A = "bc3bc8408e84c12c2b5f24aa91b444894b55e26069b66e8034890634b08aef1d"
B = "ac4488b2ca69de829c9a8bbcd9efa2ddff493a3b5888a53ec20a1343ea34b2bd"
C = "7332a0565a4047bdd2c0b778bf3a9175518218879547eb8ddde6832d57861153"

ARTICLE = """\
"docker" "container" "ls" "--all" "--filter" "name=^PREFIX" "-q"
"docker" "images" "--format={{ .Repository }}" "PREFIX-image-tmp-*"
"docker" "volume" "ls" "--quiet" "--filter" "name=^PREFIX-cache-tmp-"
"docker" "volume" "inspect" "--" "PREFIX-libexec"
"docker" "inspect" "--type=image" "--" "PREFIX-image-A"
"docker" "pull" "BASE"
"docker" "tag" "BASE" "PREFIX-image-A"
"docker" "inspect" "--type=image" "--" "PREFIX-image-B"
"docker" "tag" "PREFIX-image-A" "PREFIX-image-tmp-B"
"docker" "inspect" "--type=container" "--" "PREFIX-container-B"
"docker" "run" "-i" "--name" "PREFIX-container-B" "--cpus" "8.000000" "--isolation" "hyperv" \
"--hostname" "builder" "--workdir" "C:/" "--entrypoint" "cmd" "--memory" "4g" \
"--user" "ContainerAdministrator" "PREFIX-image-tmp-B" "/S" "/C" "echo hello > world"
"docker" "inspect" "--type=image" "--format={{json .Config.Entrypoint }}" "--" "PREFIX-image-tmp-B"
"docker" "inspect" "--type=image" "--format={{json .Config.Cmd }}" "--" "PREFIX-image-tmp-B"
"docker" "commit" "--change=CMD ["c:\\\\windows\\\\system32\\\\cmd.exe"]" "--" \
"PREFIX-container-B" "PREFIX-image-B"
"docker" "rm" "--force" "--" "PREFIX-container-B"
"docker" "image" "rm" "PREFIX-image-tmp-B"
"docker" "inspect" "--type=image" "--" "PREFIX-image-C"
"docker" "tag" "PREFIX-image-B" "PREFIX-image-tmp-C"
"docker" "inspect" "--type=container" "--" "PREFIX-container-C"
"docker" "run" "-i" "--name" "PREFIX-container-C" "--cpus" "8.000000" "--isolation" "hyperv" \
"--hostname" "builder" "--workdir" "C:/" "--entrypoint" "cmd" "--memory" "4g" \
"--user" "ContainerAdministrator" "PREFIX-image-tmp-C" "/S" "/C" "type world"
"docker" "inspect" "--type=image" "--format={{json .Config.Entrypoint }}" "--" "PREFIX-image-tmp-C"
"docker" "inspect" "--type=image" "--format={{json .Config.Cmd }}" "--" "PREFIX-image-tmp-C"
"docker" "commit" "--change=CMD ["c:\\\\windows\\\\system32\\\\cmd.exe"]" \
"--change=ENTRYPOINT ["cmd"]" "--" "PREFIX-container-C" "PREFIX-image-C"
"docker" "rm" "--force" "--" "PREFIX-container-C"
"docker" "image" "rm" "PREFIX-image-tmp-C"
"""
"""The commands of the article's log, in its order."""


def expected(prefix: str) -> list[str]:
    """The article's commands, but for the entrypoint, which is not the shell's in the end."""
    text = ARTICLE.replace('"--change=ENTRYPOINT ["cmd"]" ', "").replace("PREFIX", prefix)
    keys = {"A": A, "B": B, "C": C}
    text = re.sub(r"(?<=-)[ABC](?=\")", lambda found: keys[found[0]], text)
    text = text.replace('"BASE"', f'"{BASE}"')
    return text.splitlines()


def is_clean_up(command: str) -> bool:
    return command.startswith(('"docker" "rm" ', '"docker" "image" "rm" '))


def is_looking_for_leftovers(command: str) -> bool:
    first = ('"docker" "container" "ls"', '"docker" "images"', '"docker" "volume"')
    return command.startswith(first)


def build(windows: Obuild, folder: Path, *options: str) -> tuple[list[str], list[str]]:
    """Lines of standard output and of standard error."""
    (folder / "simple.spec").write_text(SPEC)
    done = windows(
        *("build", "-f", "simple.spec", "--store=docker:./var", "--docker-cpus=8"),
        *("--docker-memory=4g", *options, "."),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


@pytest.mark.parametrize("fresh", [True, False], ids=["new-store", "base-up-to-date"])
def test_the_article(windows: Obuild, daemon: Daemon, tmp_path: Path, fresh: bool) -> None:
    """In the article the libexec volume is there, and the base image is up to date: so it is
    after a build of which the steps were deleted. What obuild does besides is told in words."""
    prefix = leftovers.prefix_of(tmp_path / "var").rstrip("-")
    if not fresh:
        build(windows, tmp_path)
        assert windows("delete", "--store=docker:./var", A, cwd=tmp_path).returncode == 0
    out, err = build(windows, tmp_path, "-v")

    assert out == [
        f"(from {BASE})",
        f'---> saved as "{A}"',
        'C:/: (run (shell "echo hello > world"))',
        f'---> saved as "{B}"',
        'C:/: (run (shell "type world"))',
        "hello",
        f'---> saved as "{C}"',
        f'Got: "{C}"',
    ]
    logged = "obuild: [INFO] Exec "
    commands = [line.removeprefix(logged) for line in err if line.startswith(logged)]
    commands = [command.replace(' "--network" "none"', "", 1) for command in commands]
    wanted = expected(prefix)
    assert [c for c in wanted if c not in commands] == []
    assert [c for c in commands if c not in wanted] == []
    assert len(commands) == len(wanted)

    def others(lines: list[str]) -> list[str]:
        return [c for c in lines if not is_clean_up(c) and not is_looking_for_leftovers(c)]

    assert others(commands) == others(wanted)
    for key in (A, B, C):
        assert f"Error: No such image: {prefix}-image-{key}" in err
    for key in (B, C):
        assert f"Error: No such container: {prefix}-container-{key}" in err
        assert f"Untagged: {prefix}-image-tmp-{key}:latest" in err
    at = err.index(f'{logged}"docker" "pull" "{BASE}"')
    assert err[at + 1] == "ltsc2022: Pulling from windows/servercore"
    digest = "Digest: sha256:3949614905ddf2c4451b18894563c36f0c0aa93ab0e17ea6f8ca3791313e4e4f"
    news = "Downloaded newer image" if fresh else "Image is up to date"
    end = err.index(digest)
    assert err[end + 1] == f"Status: {news} for {BASE}"


def test_what_the_daemon_is_asked(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    prefix = leftovers.prefix_of(tmp_path / "var").rstrip("-")
    build(windows, tmp_path)
    creates = daemon.asked("POST", "/containers/create")
    assert [request.query["name"] for request in creates] == [
        f"{prefix}-container-{B}",
        f"{prefix}-container-{C}",
    ]
    body = creates[0].body
    assert body["Image"] == f"{prefix}-image-tmp-{B}"
    assert body["Entrypoint"] == ["cmd", "/S", "/C", "echo hello > world"]
    assert (body["User"], body["WorkingDir"]) == ("ContainerAdministrator", "C:/")
    host = body["HostConfig"]
    assert (host["Isolation"], host["NetworkMode"]) == ("hyperv", "none")
    assert (host["NanoCpus"], host["Memory"]) == (8_000_000_000, 4 << 30)
    assert not {"Mounts", "Tmpfs", "Binds"} & host.keys()
    for request in daemon.asked("POST", "/commit"):
        assert request.query["comment"].split()[0] == "obuild"
        assert request.body["Cmd"] == ["c:\\windows\\system32\\cmd.exe"]
        assert request.body["Entrypoint"] == []
    assert not daemon.asked("POST", "/images/load")
    assert not [r for r in daemon.requests if r.path.endswith("/archive")]
    config = daemon.image(f"{prefix}-image-{C}").config
    assert (config["Entrypoint"], config["Cmd"]) == ([], ["c:\\windows\\system32\\cmd.exe"])
    assert not daemon.containers
    assert {tag for image in daemon.images.values() for tag in image.tags} == {
        BASE,
        *(f"{prefix}-image-{key}:latest" for key in (A, B, C)),
    }


def test_a_second_build_is_all_hits(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    build(windows, tmp_path)
    daemon.requests.clear()
    out, _ = build(windows, tmp_path)
    assert out[-1] == f'Got: "{C}"'
    assert f'---> using "{C}" from cache' in out
    assert {request.method for request in daemon.requests} == {"GET"}


def test_a_run_shows_what_can_be_pasted(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "simple.spec").write_text(SPEC)
    done = windows("run", "simple.spec", STORE, "-v", "--docker-isolation=default", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    runs = [line for line in done.stderr.decode().splitlines() if line.startswith("docker run ")]
    assert len(runs) == 2
    assert runs[0].endswith(" /S /C 'echo hello > world'")
    assert "--isolation" not in runs[0]
    (create, _) = daemon.asked("POST", "/containers/create")
    assert "Isolation" not in create.body["HostConfig"]


def test_an_image_of_another_system(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    daemon.image_os = "linux"
    (tmp_path / "simple.spec").write_text(SPEC)
    done = windows("build", "-f", "simple.spec", STORE, ".", cwd=tmp_path)
    assert done.returncode == 3
    assert b"is for linux; the guests of this Docker daemon are for windows" in done.stderr


def test_a_base_that_only_the_daemon_has(windows: Obuild, daemon: Daemon, tmp_path: Path) -> None:
    """The registry does not know it, or cannot be reached."""
    daemon.pull(BASE)
    daemon.pullable.clear()
    out, _ = build(windows, tmp_path)
    assert out[-1] == f'Got: "{C}"'


def test_guests_of_another_system_than_before(
    windows: Obuild, daemon: Daemon, tmp_path: Path
) -> None:
    build(windows, tmp_path)
    daemon.os = "linux"
    (tmp_path / "other.spec").write_text(f'((from {BASE}) (run (shell "exit 0")))')
    done = windows("build", "-f", "other.spec", STORE, ".", cwd=tmp_path)
    assert done.returncode == 3
    assert b"the engine has linux guests now" in done.stderr
