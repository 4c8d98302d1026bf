"""Files from another build, through the command line: the keys that OBuilder gives, and the
files (golden: ``keys/copies-from-build.json``).

Where OBuilder errs (``golden/README.md`` lists its faults) obuild does what the language says.
Which cases these are follows from rules, not from their names.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import NotFound

from tests import engines, leftovers
from tests.program import Obuild
from tests.setup import client, images
from tests.vectors import cases

pytestmark = pytest.mark.engine

_ROOT = Path(__file__).resolve().parents[2]
_CASES = {case["name"]: case for case in cases("keys/copies-from-build.json")}
_ID = re.compile(rb'---> (?:saved as|using) "([0-9a-f]{64})"')


def _outer(case: dict[str, Any]) -> str:
    """The spec behind its last nested build."""
    return str(case["spec"].rpartition("))))")[2] or case["spec"].rpartition("))) ")[2])


def _workdir(case: dict[str, Any]) -> str | None:
    """Sources count from the root of the other build; OBuilder counts from this workdir."""
    found = re.search(r"\(workdir ([^)]+)\)", _outer(case))
    return found[1] if found and found[1] != "/" else None


_FAULTS = (
    ("Could not find mapping", "a directory"),
    ("Unsupported file type\\|Invalid_argument", "one file twice, or hard links"),
    ("unterminated|unclosed|Of_sexp_error|invalid_sexp", "quotes are missing in its manifest"),
    ("exit status 126", "another user may not run its script"),
    ("exit status 127", "it needs a bash in the image"),
)


def _fault(case: dict[str, Any]) -> str | None:
    """Why OBuilder's result is not followed, None where it is."""
    text = str(case.get("steps")) + str(case.get("failed_step"))
    error = f"{case.get('error')} {case.get('stderr')}"
    if _workdir(case):
        return "sources count from the workdir"
    if "0" * 64 in re.sub(r"0{65,}", "", text):
        return "zeros stand for a digest"
    if re.search(r'\(src "[^"]*\\n', case["spec"]):
        return "of a name with a newline only the first line counts"
    if re.search(r"\(src [^)]*[a-z]/\)", case["spec"]):
        return "a slash behind the name of a file is accepted"
    if 'Invalid_argument("Unsupported file type")' in error:
        return "one file twice, or hard links"
    if case["exit_code"]:
        for pattern, reason in _FAULTS:
            if re.search(pattern, error):
                return reason
        missing = re.search(r'Source path "(\w+)" not found', error)
        if missing and re.search(rf"ln -s \S+ /{missing[1]}\b", case["spec"]):
            return "a dangling link is said to be missing"
    return None


_FOLLOWED = [name for name, case in _CASES.items() if _fault(case) is None]
_NOT_FOLLOWED = [name for name, case in _CASES.items() if _fault(case) is not None]


def test_most_cases_are_followed() -> None:
    assert len(_FOLLOWED) >= 20
    assert {name for name in _FOLLOWED if _CASES[name]["exit_code"]} >= {"not-found", "dotdot"}


@dataclass
class Site:
    """One store for all cases, so what many have in common is built once."""

    obuild: Obuild
    api: APIClient
    prefix: str
    folder: Path

    def build(self, case: dict[str, Any]) -> tuple[int, list[str], bytes]:
        """Exit code, ids in order, all output."""
        spec = self.folder / "case.spec"
        spec.write_text(case["spec"])
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        done = self.obuild("build", "-f", spec, context, f"--store=docker:{self.folder / 'store'}")
        ids = [found.decode() for found in _ID.findall(done.stdout)]
        return done.returncode, ids, done.stdout + done.stderr

    def files(self, key: str, root: str) -> list[dict[str, Any]]:
        """What the snapshot has at and below ``root``, in the golden data's own form."""
        container = self.api.create_container(f"{self.prefix}-image-{key}", ["none"])["Id"]
        try:
            chunks, _ = self.api.get_archive(container, root)
            stream = io.BytesIO(b"".join(chunks))
        except NotFound:
            return []
        finally:
            self.api.remove_container(container, v=True)
        with tarfile.open(fileobj=stream) as archive:
            return [_entry(member, root) for member in archive]


def _entry(member: tarfile.TarInfo, root: str) -> dict[str, Any]:
    path = f"{root.rpartition('/')[0]}/{member.name}"
    entry: dict[str, Any] = {"path": path, "uid": member.uid, "gid": member.gid}
    if member.issym():
        return {**entry, "type": "symlink", "target": member.linkname}
    entry["mode"] = f"{member.mode & 0o7777:04o}"
    if member.isdir():
        return {**entry, "type": "dir"}
    return {**entry, "type": "file", "size": member.size}


@pytest.fixture(scope="module")
def site(
    engine_under_test: engines.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    images.ensure_debian(engine_under_test.host)
    folder = tmp_path_factory.mktemp("copies")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    environ = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)}
    obuild = Obuild({**environ, "DOCKER_HOST": engine_under_test.host})
    api = client.connect(engine_under_test.host)
    store = folder / "store"
    yield Site(obuild, api, leftovers.prefix_of(store).removesuffix("-"), folder)
    cleaned = obuild("clean", f"--store=docker:{store}")
    api.close()
    assert cleaned.returncode == 0, cleaned.stderr


@pytest.mark.parametrize("name", _FOLLOWED)
def test_ids_and_files_are_obuilder_s(site: Site, name: str) -> None:
    case = _CASES[name]
    code, ids, output = site.build(case)
    assert (code != 0) == (case["exit_code"] != 0), output.decode()
    assert ids == [step["id"] for step in case["steps"]], output.decode()
    if case["exit_code"]:
        words = str(case.get("stderr") or "").strip()
        assert words in output.decode(), "the words of a refused source are OBuilder's"
        return
    assert f'Got: "{case["result"]}"'.encode() in output
    expected = case.get("files") or []
    paths = {entry["path"] for entry in expected}
    for root in (path for path in paths if path.rpartition("/")[0] not in paths):
        below = [e for e in expected if e["path"] == root or e["path"].startswith(f"{root}/")]
        wanted = [{k: v for k, v in entry.items() if k != "path_b64"} for entry in below]
        found = site.files(ids[-1], root)
        assert sorted(found, key=str) == sorted(map(_ordered, wanted), key=str)


def _ordered(entry: dict[str, Any]) -> dict[str, Any]:
    """The same in the order of ``_entry``, so that texts can be compared."""
    order = ("path", "uid", "gid", "mode", "type", "target", "size")
    plain = [key for key in order if key in entry]
    if entry["type"] == "symlink":
        plain = [key for key in ("path", "uid", "gid", "type", "target") if key in entry]
    return {key: entry[key] for key in plain}


@pytest.mark.parametrize("name", _NOT_FOLLOWED)
def test_obuild_works_where_obuilder_errs(site: Site, name: str) -> None:
    case = _CASES[name]
    code, ids, output = site.build(case)
    reason = _fault(case)
    if reason == "a slash behind the name of a file is accepted":
        assert code == 1
        assert b'Not a directory: slate/out (in "out/slate/")' in output
        return
    if reason == "sources count from the workdir":
        # Below the root most of these sources are not there, or are too much.
        assert code in (0, 1)
        assert code == 0 or re.search(rb'Source path ".*" not found|Unsupported', output), output
        return
    if reason == "of a name with a newline only the first line counts":
        assert code == 0
        (copied,) = site.files(ids[-1], "/t")
        assert copied["type"] == "file"
        assert ids[-1] != case["result"], "the key of another file"
        return
    assert code == 0, output.decode()
    if case.get("failed_step") is not None:
        # OBuilder had found the right key before it failed.
        assert case["failed_step"]["id"] in ids, output.decode()
    if reason == "zeros stand for a digest":
        assert case["result"] not in ids
