"""``python -m tests.bench [--engines NAMES] [--pairs N] [--only TEXT]``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests import engines, leftovers
from tests.bench.builds import Build, between, copy_of, large_file, make_tree, trivial
from tests.bench.programs import Programs, own_daemon
from tests.bench.quarry import quarry
from tests.bench.rows import Row, table
from tests.setup import client, images
from tests.setup.default import ensure_default
from tests.setup.shell import SetupError, end_in_good_order, say

__all__ = ["main"]


def main() -> int:
    parser = argparse.ArgumentParser("tests.bench", description=__doc__)
    named = os.environ.get("OBUILD_TEST_ENGINES") or ",".join(engines.ALL)
    parser.add_argument("--engines", default=named, help="separated by commas")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--copy-pairs", type=int, default=5)
    chosen = parser.parse_args()
    held = True
    try:
        for name in chosen.engines.split(","):
            held &= _bench(name.strip(), chosen.pairs, chosen.copy_pairs)
    except SetupError as error:
        say(str(error))
        return 2
    return 0 if held else 1


def _bench(name: str, pairs: int, copy_pairs: int) -> bool:
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
        rows = _measure(programs, pairs, copy_pairs)
        rows += measure_between(programs, copy_pairs)
        print(f"\n{name}, Docker {client.version(host)}\n\n{table(rows)}\n", flush=True)
        programs.clean()
        if daemon is None:
            leftovers.remove(host, {("image", "obuild-test/bench:latest")})
        return all(row.holds for row in rows)
    finally:
        if daemon is not None:
            daemon.remove()
        shutil.rmtree(folder)


def _measure(programs: Programs, pairs: int, copy_pairs: int) -> list[Row]:
    run_cold, run_cached = Row("10 runs, 1 copy: cold"), Row("10 runs, 1 copy: cached")
    copy_cold, copy_again, copy_cached = (
        Row("copy of 20,000 files, 100 MB: cold, new tree"),
        Row("the same: cold, tree seen before"),
        Row("the same: cached"),
    )
    # A first build of each, so that neither pays for an empty store.
    _pair(Row("warm-up"), programs, trivial(programs.folder, 0), cached=False)
    for number in range(1, pairs + 1):
        say(f"runs, pair {number} of {pairs}")
        build = trivial(programs.folder, time.time_ns())
        _pair(run_cold, programs, build, cached=False)
        _pair(run_cached, programs, build, cached=True)
    for number in range(1, copy_pairs + 1):
        say(f"copies, pair {number} of {copy_pairs}")
        tree = make_tree(programs.folder, time.time_ns())
        build = copy_of(programs.folder, tree)
        _pair(copy_cold, programs, build, cached=False)
        _pair(copy_cached, programs, build, cached=True)
        _touch_one(tree)
        _pair(copy_again, programs, build, cached=False)
        shutil.rmtree(tree)
    return [run_cold, run_cached, copy_cold, copy_again, copy_cached]


def measure_between(programs: Programs, pairs: int) -> list[Row]:
    """Copies between builds. The image that they take from is new for each pair."""
    cold = Row("20,000 files, 100 MB, between builds: cold")
    cached = Row("the same: cached")
    large = Row("5 GB file between builds: cold")
    _pair(Row("warm-up"), programs, trivial(programs.folder, 0), cached=False)
    for number in range(1, pairs + 1):
        say(f"copies between builds, pair {number} of {pairs}")
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
    programs.clean()
    return [cold, cached, large]


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


if __name__ == "__main__":
    end_in_good_order()
    sys.exit(main())
