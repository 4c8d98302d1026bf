"""``python -m tests.bench [--engines NAMES] [--pairs N] [--copy-pairs N] [--only GROUP]``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests import engines, leftovers
from tests.bench.builds import (
    Build,
    between,
    copy_of,
    independent,
    large_file,
    make_tree,
    trivial,
)
from tests.bench.programs import Measure, Programs, own_daemon
from tests.bench.quarry import quarry
from tests.bench.rows import Row, table
from tests.setup import client, images
from tests.setup.default import ensure_default
from tests.setup.shell import SetupError, end_in_good_order, say

__all__ = ["main"]

_MANIFEST = Path(__file__).resolve().parents[2] / "libexec/manifest.bash"


def main() -> int:
    parser = argparse.ArgumentParser("tests.bench", description=__doc__)
    named = os.environ.get("OBUILD_TEST_ENGINES") or ",".join(engines.ALL)
    parser.add_argument("--engines", default=named, help="separated by commas")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--copy-pairs", type=int, default=5, help="of the builds that take long")
    parser.add_argument("--only", choices=sorted(_GROUPS), help="these rows, not all of them")
    chosen = parser.parse_args()
    held = True
    try:
        for name in chosen.engines.split(","):
            groups = [_GROUPS[chosen.only]] if chosen.only else list(_GROUPS.values())
            held &= _bench(name.strip(), groups, chosen)
    except SetupError as error:
        say(str(error))
        return 2
    return 0 if held else 1


def _bench(name: str, groups: Sequence[_Group], chosen: argparse.Namespace) -> bool:
    """Measure on one engine, print the table; whether all bounds hold."""
    daemon = own_daemon(name)
    folder = Path(tempfile.mkdtemp(prefix="obuild-bench-"))
    try:
        if daemon is None:
            ensure_default()
            say("docker build leaves its build cache on your engine; obuild leaves nothing")
        else:
            daemon.start()
        host = daemon.host if daemon else client.default_host()
        images.ensure_busybox(host)
        programs = Programs.find(host, daemon, folder)
        rows: list[Row] = []
        for measure in groups:
            # A first build, so that neither pays for an empty store.
            _pair(Row("warm-up"), programs, trivial(folder, 0), cached=False)
            rows += measure(programs, chosen)
            programs.clean()
        print(f"\n{name}, Docker {client.version(host)}\n\n{table(rows)}\n", flush=True)
        if daemon is None:
            leftovers.remove(host, {("image", "obuild-test/bench:latest")})
        return all(row.holds for row in rows)
    finally:
        if daemon is not None:
            daemon.remove()
        shutil.rmtree(folder)


def measure_runs(programs: Programs, chosen: argparse.Namespace) -> list[Row]:
    cold, cached = Row("10 runs, 1 copy: cold"), Row("10 runs, 1 copy: cached")
    for number in range(1, chosen.pairs + 1):
        say(f"runs, pair {number} of {chosen.pairs}")
        build = trivial(programs.folder, time.time_ns())
        _pair(cold, programs, build, cached=False)
        _pair(cached, programs, build, cached=True)
    return [cold, cached]


def measure_copies(programs: Programs, chosen: argparse.Namespace) -> list[Row]:
    cold, again, cached = (
        Row("copy of 20,000 files, 100 MB: cold, new tree"),
        Row("the same: cold, tree seen before"),
        Row("the same: cached"),
    )
    for number in range(1, chosen.copy_pairs + 1):
        say(f"copies, pair {number} of {chosen.copy_pairs}")
        tree = make_tree(programs.folder, time.time_ns())
        build = copy_of(programs.folder, tree)
        _pair(cold, programs, build, cached=False)
        _pair(cached, programs, build, cached=True)
        _touch_one(tree)
        _pair(again, programs, build, cached=False)
        shutil.rmtree(tree)
    return [cold, again, cached]


def measure_between(programs: Programs, chosen: argparse.Namespace) -> list[Row]:
    """Copies between builds. The image that they take from is new for each pair."""
    cold = Row("20,000 files, 100 MB, between builds: cold")
    cached = Row("the same: cached")
    large = Row("5 GB file between builds: cold")
    for number in range(1, chosen.copy_pairs + 1):
        say(f"copies between builds, pair {number} of {chosen.copy_pairs}")
        tree = make_tree(programs.folder, time.time_ns())
        with quarry(programs.host, programs.folder, tree):
            build = between(programs.folder)
            _pair(cold, programs, build, cached=False)
            _pair(cached, programs, build, cached=True)
        shutil.rmtree(tree)
        programs.clean()
        _pair(Row("base"), programs, trivial(programs.folder, 0), cached=False)
    say("a file of 5 GB")
    with quarry(programs.host, programs.folder, None):
        _pair(large, programs, large_file(programs.folder, time.time_ns()), cached=False)
    return [cold, cached, large]


def measure_nested(programs: Programs, chosen: argparse.Namespace) -> list[Row]:
    """Nested builds side by side, against the same one after the other."""
    row = Row("8 nested builds of 4 runs: --jobs 2", rival="--jobs 1", bound=1 / 1.3)

    def build(jobs: str) -> Measure:
        made = independent(programs.folder, time.time_ns())
        return programs.obuild(made.spec, made.context, "--jobs", jobs)

    for number in range(1, chosen.copy_pairs + 1):
        say(f"nested builds, pair {number} of {chosen.copy_pairs}")
        row.measure(lambda: build("2"), lambda: build("1"))
    return [row]


def measure_manifest(programs: Programs, chosen: argparse.Namespace) -> list[Row]:
    """The manifest in Bash, against what reads and hashes the same files and no more."""
    tree = make_tree(programs.folder, time.time_ns())
    script = ["bash", "--norc", "-p", str(_MANIFEST)]
    where = [str(programs.folder), "/", "0", "1", tree.name]
    detail = ["--attributes", *where]
    rival = ["find", str(tree), "-type", "f", "-exec", "sha256sum", "{}", "+"]
    plain = Row("20,000 files: manifest.bash", rival="find, sha256sum", bound=2.0)
    detailed = Row("the same: --attributes", rival="find, sha256sum", bound=2.0)
    for number in range(1, chosen.copy_pairs + 1):
        say(f"manifests, pair {number} of {chosen.copy_pairs}")
        plain.measure(lambda: programs.run([*script, *where]), lambda: programs.run(rival))
        detailed.measure(lambda: programs.run([*script, *detail]), lambda: programs.run(rival))
    shutil.rmtree(tree)
    return [plain, detailed]


def _pair(row: Row, programs: Programs, build: Build, *, cached: bool) -> None:
    expected = 0 if cached else build.snapshots
    before = _snapshots(programs)

    def check() -> None:
        made = _snapshots(programs) - before
        # The base is a snapshot too, at the first build.
        if made not in (expected, expected + (before == 0)):
            raise SetupError(f"{row.title}: {made} snapshots were made, not {expected}")

    row.measure(
        lambda: programs.obuild(build.spec, build.context),
        lambda: programs.docker_build(build.dockerfile, build.context, cached=cached),
        check,
    )


def _snapshots(programs: Programs) -> int:
    prefix = leftovers.prefix_of(programs.folder / "store") + "image-"
    return sum(name.startswith(prefix) for _, name in leftovers.objects(programs.host))


def _touch_one(tree: Path) -> None:
    """Other bytes in one file: all keys of the tree change, next to nothing else does."""
    path = next(path for path in sorted(tree.rglob("*")) if path.is_file())
    path.write_bytes(path.read_bytes()[::-1])


_Group = Callable[[Programs, argparse.Namespace], list[Row]]
_GROUPS: Mapping[str, _Group] = {
    "runs": measure_runs,
    "copies": measure_copies,
    "between": measure_between,
    "nested": measure_nested,
    "manifest": measure_manifest,
}

if __name__ == "__main__":
    end_in_good_order()
    sys.exit(main())
