"""Many questions to manifest.bash by one process, and what obuild's own manifest answers."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from obuild.context import BuildContext
from obuild.errors import SourceError
from obuild.ir.manifest import write_manifest
from obuild.source import decode, encode
from tests.context.trees import NAMES, Entry, make_tree, trees

__all__ = [
    "SCRIPT",
    "Answer",
    "Case",
    "answer_of",
    "compare",
    "draw_cases",
    "expected",
    "prepare",
    "run",
]

SCRIPT = Path(__file__).parents[2] / "libexec" / "manifest.bash"

# Each case is asked in a shell of its own, forked off one that runs in the emptied environment.
_DRIVER = rb"""
cd "$1" || exit
for folder in case-*; do
    mapfile -d '' arguments <"$folder/arguments"
    (
        set -- "$PWD/$folder/tree" "${arguments[@]}"
        [[ $2 != --attributes ]] || set -- "$2" "$1" "${@:3}"
        . "$PWD/manifest.bash"
    ) >"$folder/out" 2>"$folder/err"
    printf '%s' "$?" >"$folder/status"
done
"""
_ROOT = os.geteuid() == 0
_MODES = [0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777, 0o6777, 0o444, 0o7, 0]


@dataclass(frozen=True)
class Case:
    """A tree and one question about it."""

    entries: list[Entry]
    modes: list[int]
    excludes: list[bytes]
    sources: list[bytes]
    attributes: bool

    def arguments(self) -> list[bytes]:
        """All arguments but the folder."""
        lists = (item for names in (self.excludes, self.sources) for item in _counted(names))
        return [*([b"--attributes"] if self.attributes else []), b"/", *lists]


@dataclass(frozen=True)
class Answer:
    """Exit status, standard error and, if it is not an error's, standard output."""

    status: int
    err: bytes
    out: bytes


def _counted(names: list[bytes]) -> list[bytes]:
    return [b"%d" % len(names), *names]


@st.composite
def _sources(draw: st.DrawFn, entries: list[Entry]) -> bytes:
    """A path in the tree, or beside it, in one of its spellings."""
    path = draw(st.sampled_from([b"", *(entry[0] for entry in entries)]))
    parts = [*path.split(b"/")]
    for _ in range(draw(st.integers(0, 2))):
        odd = draw(st.one_of(st.sampled_from([b"", b"", b".", b"..", b"\n", b"-"]), NAMES))
        parts.insert(draw(st.integers(0, len(parts))), odd)
    return b"/".join(parts)


@st.composite
def _cases(draw: st.DrawFn, sockets: bool) -> Case:
    entries = draw(trees())
    if sockets and draw(st.integers(0, 9)) == 0:
        entries.append((b"socket", "socket", b""))
    if len({path for path, _, _ in entries}) < len(entries):
        entries.pop()
    modes = [draw(st.sampled_from(_MODES)) if _ROOT else 0o755 for _ in entries]
    excludes = draw(st.lists(st.one_of(NAMES, st.just(b"")), max_size=3))
    sources = draw(st.lists(_sources(entries), min_size=1, max_size=3))
    return Case(entries, modes, excludes, sources, draw(st.booleans()))


def draw_cases(count: int, *, sockets: bool) -> list[Case]:
    """As many cases as a property test would look at; to be asked all at once."""
    found: list[Case] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_cases(sockets))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def prepare(folder: Path, cases: list[Case]) -> None:
    """Write all that ``run`` needs, and the trees, into ``folder``."""
    (folder / "driver.bash").write_bytes(_DRIVER)
    (folder / "manifest.bash").write_bytes(SCRIPT.read_bytes())
    for number, case in enumerate(cases):
        home = folder / f"case-{number:04}"
        (home / "tree").mkdir(parents=True)
        make_tree(home / "tree", case.entries)
        for (path, kind, _), mode in zip(case.entries, case.modes, strict=True):
            whole = os.path.join(os.fsencode(home), b"tree", path)
            if _ROOT:
                os.chown(whole, mode % 5, mode % 7 * 1000, follow_symlinks=False)
            if kind != "symlink":
                os.chmod(whole, mode)
        (home / "arguments").write_bytes(b"".join(a + b"\0" for a in case.arguments()))


def run(folder: Path) -> None:
    """Ask all questions in ``folder``."""
    driver = str(folder / "driver.bash")
    command = ["env", "-i", "bash", "--norc", "-p", driver, str(folder)]
    subprocess.run(command, check=True, timeout=300)


def answer_of(home: Path) -> Answer:
    """What the script said of the case in ``home``."""
    status = int((home / "status").read_bytes())
    out = (home / "out").read_bytes() if status == 0 else b""
    return Answer(status, (home / "err").read_bytes(), out)


def expected(tree: Path, case: Case) -> Answer:
    """What obuild makes of the tree itself."""
    context = BuildContext(str(tree))
    excludes = tuple(map(decode, case.excludes))
    lines = []
    try:
        for source in map(decode, case.sources):
            manifest = context.manifest(source, excludes, attributes=case.attributes)
            lines.append(write_manifest(manifest, attributes=case.attributes).encode() + b"\n")
    except SourceError as error:
        return Answer(1, encode(error.message), b"")
    return Answer(0, b"", b"".join(lines))


def compare(made: Path, answered: Path, cases: list[Case]) -> None:
    """Each answer in the folder ``answered`` is that of obuild about the tree in ``made``."""
    kinds = set()
    for number, case in enumerate(cases):
        name = f"case-{number:04}"
        right = expected(made / name / "tree", case)
        assert answer_of(answered / name) == right, f"{name}: {case}"
        kinds.add((right.status, case.attributes, right.err[:12]))
    assert len(kinds) >= 8, "the cases are all alike"
