"""manifest.bash on this machine: equal to obuild's manifest, and to OBuilder's."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from obuild.context import BuildContext
from obuild.errors import SourceError
from obuild.ir.listing import read_manifest
from obuild.ir.manifest import write_manifest
from obuild.source import decode, encode
from tests import vectors
from tests.context.test_permissions import as_nobody
from tests.context.trees import make_golden_tree, make_tree
from tests.libexec.bulk import SCRIPT, compare, draw_cases, prepare, run

USAGE = b"manifest.bash: arguments: [--attributes] SRC_DIR SEPARATOR EXCLUDE_COUNT"


def ask(
    root: Path | str,
    *sources: str | bytes,
    exclude: tuple[str | bytes, ...] = (),
    attributes: bool = False,
    script: Path = SCRIPT,
    separator: str = "/",
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    arguments = [root, separator, str(len(exclude)), *exclude, str(len(sources)), *sources]
    return subprocess.run(
        ["bash", "--norc", "-p", script, *(["--attributes"] if attributes else []), *arguments],
        env={},
        capture_output=True,
        timeout=120,
        **options,
    )


def lines_of(root: Path, *sources: str, attributes: bool = False) -> bytes:
    """What obuild's own manifests print."""
    context = BuildContext(str(root))
    found = [context.manifest(source, (), attributes=attributes) for source in sources]
    return b"".join(write_manifest(m, attributes=attributes).encode() + b"\n" for m in found)


@pytest.mark.parametrize(
    "case", vectors.cases("manifest/manifest.json"), ids=lambda case: case["name"]
)
def test_golden_trees(case: dict[str, Any], tmp_path: Path) -> None:
    """golden: manifest/manifest.json. The uncaught exceptions of OBuilder are errors here."""

    def data(value: Any) -> bytes:
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()

    make_golden_tree(tmp_path, case["tree"])
    excludes = tuple(data(name) for name in case["excludes"])
    for result in case["results"]:
        source = data(result["src"])
        done = ask(tmp_path, source, exclude=excludes)
        if "sexp" in result:
            found = (done.returncode, done.stdout, done.stderr)
            assert found == (0, data(result["sexp"]) + b"\n", b"")
            continue
        if "error" in result:
            right = data(result["error"])
        else:
            with pytest.raises(SourceError) as caught:
                BuildContext(str(tmp_path)).manifest(decode(source), ())
            right = encode(caught.value.message)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", right)


def test_any_tree_and_any_question(tmp_path: Path) -> None:
    cases = draw_cases(250, sockets=True)
    prepare(tmp_path, cases)
    run(tmp_path)
    compare(tmp_path, tmp_path, cases)


def test_a_line_for_each_source_and_the_first_error(tmp_path: Path) -> None:
    make_tree(tmp_path, [(b"f", "file", b"x"), (b"-d", "dir", b""), (b"l", "symlink", b"-n")])
    done = ask(tmp_path, "f", "-d", "l", "f")
    assert done.stdout == lines_of(tmp_path, "f", "-d", "l", "f")
    done = ask(tmp_path, "f", "gone", "..")
    assert (done.returncode, done.stderr) == (1, b'Source path "gone" not found')
    done = ask(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["/"],
        ["/", "/", "0"],
        ["/", "", "0", "0"],
        ["", "/", "0", "0"],
        ["/", "/", "x", "0"],
        ["/", "/", "-1", "0"],
        ["/", "/", "0", "2", "a"],
        ["/", "/", "9", "a", "0"],
        ["/", "/", "0", "1", "a", "b"],
        ["/", "/", "0", "1+1", "a", "b"],
    ],
)
def test_wrong_calls(arguments: list[str]) -> None:
    command = ["bash", "--norc", "-p", str(SCRIPT), *arguments]
    done = subprocess.run(command, env={}, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(USAGE)


def test_a_start_that_is_no_folder(tmp_path: Path) -> None:
    done = ask(tmp_path / "gone", ".")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot go to" in done.stderr


@pytest.mark.parametrize("root", [".", "./", "-", "-n", "a b\n", "\x7f\x01"])
def test_the_start_may_have_any_name(root: str, tmp_path: Path) -> None:
    (tmp_path / root).mkdir(exist_ok=True)
    make_tree(tmp_path / root, [(b"d", "dir", b""), (b"d/f", "file", b"x")])
    done = ask(root, "d", cwd=tmp_path)
    assert done.stdout == lines_of(tmp_path / root, "d")


def test_as_obuilder_calls_it(tmp_path: Path) -> None:
    """Its shell executes the file, which has no "#!" line (its lib/docker_sandbox.ml)."""
    script = tmp_path / "manifest.bash"
    script.write_bytes(SCRIPT.read_bytes())
    script.chmod(0o555)
    (tmp_path / "in").mkdir()
    make_tree(tmp_path / "in", [(b"f", "file", b"x")])
    command = f'exec {script} "{tmp_path}/in" "/" 0  1 f'
    env = {"PATH": "/bin:/usr/bin"}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (lines_of(tmp_path / "in", "f"), b"")


def test_what_the_environment_says_does_not_matter(tmp_path: Path) -> None:
    make_tree(tmp_path, [(b"d", "dir", b""), (b"d/f", "file", b"x"), (b"d/b", "symlink", b"d")])
    hostile = {
        "PATH": "/nowhere",
        "IFS": "f",
        "CDPATH": "/",
        "GLOBIGNORE": "*",
        "LC_ALL": "C.UTF-8",
        "SHELLOPTS": "noglob:noclobber:nounset:errexit",
        "BASHOPTS": "nocaseglob:failglob",
        "POSIXLY_CORRECT": "1",
    }
    command = ["env", "-i", *(f"{k}={v}" for k, v in hostile.items()), "/bin/bash", "--norc"]
    arguments = [str(SCRIPT), str(tmp_path), "/", "0", "1", "."]
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (lines_of(tmp_path, "."), b"")


def test_many_long_names(tmp_path: Path) -> None:
    """More than arguments may be long: 3,000 names of 200 bytes, files and links."""
    for n in range(1500):
        (tmp_path / f"{n:0200}").write_bytes(b"%d" % n)
        os.symlink(f"{n:0300}", tmp_path / f"l{n:0199}")
    assert ask(tmp_path, ".", attributes=True).stdout == lines_of(tmp_path, ".", attributes=True)


@pytest.mark.parametrize(
    ("depth", "name"), [(400, "deep' down \n"), pytest.param(1000, "d", marks=pytest.mark.slow)]
)
def test_a_deep_tree(depth: int, name: str, tmp_path: Path) -> None:
    """Also where paths are longer than the system takes: 400 levels of 12 bytes."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(name, dir_fd=fd)
        if level % 38 == 0:
            os.symlink("x", "a", dir_fd=fd)
            os.close(os.open("z", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            os.close(os.open("z\n", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        done = ask(tmp_path, ".", attributes=True)
        assert done.stderr == b""
        assert done.stdout == lines_of(tmp_path, ".", attributes=True)
        read = read_manifest(done.stdout[:-1])
        assert write_manifest(read, attributes=True).encode() == done.stdout[:-1]
    finally:
        # Python's own removal does not get down so far.
        subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)


def test_a_source_far_down(tmp_path: Path) -> None:
    (tmp_path / "/".join(["-a b"] * 100)).mkdir(parents=True)
    source = "//./".join(["-a b"] * 100)
    assert ask(tmp_path, source).stdout == lines_of(tmp_path, source)
    done = ask(tmp_path, f"{source}/gone")
    assert done.stderr == f'Source path "{source}/gone" not found'.encode()


def test_large_files_and_small_ones_stand_in_their_places(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"f{n}").write_bytes(bytes([n]) * (1 << 21 if n % 3 else 10))
    assert ask(tmp_path, ".").stdout == lines_of(tmp_path, ".")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize(
    "modes",
    [
        {"f": 0},
        {"d": 0},
        {"d": 0o711},
        {"d": 0o744},
        {"d/e": 0o711, "f": 0},
        {"d/e/large": 0, "f": 0},
        {"d/e/large": 0},
        {"d/e/large": 0, "d/e/larger": 0},
    ],
)
def test_what_may_not_be_read(
    modes: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same words about the same thing, large files after the small ones."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="shut") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "libexec").mkdir()
        (root / "libexec" / "manifest.bash").write_bytes(SCRIPT.read_bytes())
        tree = root / "tree"
        tree.mkdir()
        large = b"x" * (1 << 20)
        entries = [(b"d", "dir", b""), (b"d/e", "dir", b""), (b"d/e/f", "file", b"1")]
        entries += [(b"d/e/large", "file", large), (b"d/e/larger", "file", large)]
        make_tree(tree, [*entries, (b"f", "file", b"2")])
        for name, mode in modes.items():
            (tree / name).chmod(mode)
        for source in (".", "d/e", "d/e/f", "d", "d/..", "d/gone/x", "d/e/./f/", "f"):
            code = (
                "from obuild.ir.manifest import write_manifest;"
                f"got = refused({str(tree)!r}, {source!r});"
                "print(got.split(' / ')[0] if isinstance(got, str) else write_manifest(got))"
            )
            right = as_nobody(code).stdout.strip()
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
            script = root / "libexec" / "manifest.bash"
            done = ask(tree, source, script=script, **nobody)
            if done.returncode == 0:
                assert done.stdout.decode().strip() == right
            else:
                assert done.returncode == 1
                assert f"SourceError: {done.stderr.decode()}" == right


def beside(tmp_path: Path, **tools: str) -> Path:
    """A copy of the script with tools beside it, which it takes before all others."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "manifest.bash").write_bytes(SCRIPT.read_bytes())
    for name, text in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder / "manifest.bash"


AWKWARD = [
    (b"d", "dir", b""),
    (b"d/a\nb", "file", b"1"),
    (b"d/a\\b", "file", b"2"),
    (b"d/c", "file", b"3"),
    (b"d/l", "symlink", b"to\n\nthere\n"),
    (b"d/m", "symlink", b"\n"),
    (b"d/n", "symlink", b"c"),
]


def test_tools_of_busybox(tmp_path: Path) -> None:
    """Names as they are, newlines too, and one link at a time (BusyBox 1.35)."""
    (tmp_path / "in").mkdir()
    make_tree(tmp_path / "in", AWKWARD)
    plain_names = """
        [ $# -gt 0 ] || exec /usr/bin/sha256sum
        [ "$1" != -- ] || shift
        for f; do
            sum=$(/usr/bin/sha256sum <"$f") || exit 1
            printf '%s  %s\\n' "${sum%% *}" "$f"
        done
    """
    one_name = '[ $# -le 3 ] || exit 1; exec /usr/bin/readlink "$@"'
    script = beside(tmp_path, sha256sum=plain_names, readlink=one_name)
    done = ask(tmp_path / "in", ".", script=script)
    assert (done.stdout, done.stderr) == (lines_of(tmp_path / "in", "."), b"")


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("sha256sum", "exit 1"),
        ("sha256sum", "kill -9 $$"),
        ("sha256sum", "cat >/dev/null; echo 1234"),
        ("readlink", "exit 1"),
        ("stat", "echo no such option >&2; exit 1"),
    ],
)
def test_tools_that_do_not_work_are_no_fault_of_the_source(
    tool: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    make_tree(tmp_path / "in", AWKWARD)
    script = beside(tmp_path, **{tool: text})
    done = ask(tmp_path / "in", ".", script=script, attributes=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"{tool} does not work".encode() in done.stderr


def test_a_guest_without_tools(tmp_path: Path) -> None:
    source = SCRIPT.read_text()
    folder = tmp_path / "bare"
    folder.mkdir()
    usual = ":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    assert usual in source or usual[1:] in source
    script = folder / "manifest.bash"
    script.write_text(source.replace(usual[1:], "/nowhere"))
    done = ask(tmp_path, ".", script=script)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"manifest.bash: this guest has no sha256sum\n"


def test_targets_of_links_under_cygwin(tmp_path: Path) -> None:
    """A stand-in for cygpath; Bash believes its environment about the kind of system it is on."""
    (tmp_path / "in").mkdir()
    make_tree(
        tmp_path / "in",
        [(b"a", "symlink", b"/cygdrive/c/x y"), (b"b", "symlink", b"rel"), (b"c", "file", b"")],
    )
    mixed = """
        while [ "$1" != -- ]; do shift; done; shift
        for p; do
            case $p in /cygdrive/c/*) p=C:/${p#/cygdrive/c/} ;; esac
            printf '%s\\n' "$p"
        done
    """
    script = beside(tmp_path, cygpath=mixed)
    command = ["env", "-i", "OSTYPE=cygwin", "bash", "--norc", "-p", str(script)]
    command += [str(tmp_path / "in"), "/", "0", "2", "a", "b"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b'(Symlink(a"C:/x y"))\n(Symlink(b rel))\n', b"")


def test_another_separator(tmp_path: Path) -> None:
    """OBuilder's argument, always a slash; its words for a part that has the separator in it."""
    make_tree(tmp_path, [(b"d", "dir", b""), (b"d/f", "symlink", b"x"), (b"d/g", "fifo", b"")])
    done = ask(tmp_path, "d", separator="\\", exclude=("g",))
    assert done.stdout == b'(Dir(d((Symlink("d\\\\f"x)))))\n'
    done = ask(tmp_path, "d", separator="\\")
    assert done.stderr == b'Unsupported file type for "d\\\\g"'
    done = ask(tmp_path, "d/a\\b", separator="\\")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Can't use platform directory separator in path component: a\\b")


def test_nothing_runs_on_after_a_refusal(tmp_path: Path) -> None:
    """sha256sum, which runs beside the look at the tree, may be in a file of gigabytes."""
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "big").open("wb") as sparse:
        sparse.truncate(60 << 30)
    for n in range(600):
        (tmp_path / "a" / f"f{n}").touch()
    os.mkfifo(tmp_path / "b")
    done = ask(tmp_path, ".")
    assert done.stderr == b'Unsupported file type for "b"'
    running = subprocess.run(["pgrep", "-f", f"sha256sum.*{tmp_path.name}"], capture_output=True)
    assert running.stdout == b""
