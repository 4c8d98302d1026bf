"""The builds that are measured: each as a spec and as the same Dockerfile."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "COPY_BYTES",
    "COPY_FILES",
    "QUARRY",
    "Build",
    "between",
    "copy_of",
    "independent",
    "large_file",
    "make_tree",
    "trivial",
]

COPY_FILES = 20_000
COPY_BYTES = 100_000_000
QUARRY = "obuild-test/quarry"
"""The image that copies between builds take from."""

_RUNS = 10
_PARTS, _PART_RUNS = 8, 4


@dataclass(frozen=True, slots=True)
class Build:
    """One build in both languages, its context, and how many snapshots it makes."""

    spec: Path
    dockerfile: Path
    context: Path
    snapshots: int


def trivial(folder: Path, nonce: int) -> Build:
    """Ten runs that do next to nothing and a copy of one file. ``nonce`` is in every key."""
    context = folder / "small"
    context.mkdir(exist_ok=True)
    (context / "file").write_text(f"{nonce}\n")
    commands = [f"echo {number} >/step-{number}" for number in range(_RUNS)]
    spec = [f"((from busybox) (shell /bin/sh -c) (env NONCE {nonce})"]
    spec += [f'(run (shell "{command}"))' for command in commands]
    spec += ["(copy (src file) (dst /copied)))"]
    lines = ["FROM busybox", f"ENV NONCE={nonce}"]
    lines += [f"RUN {command}" for command in commands]
    lines += ["COPY file /copied"]
    return _write(folder, spec, lines, context, snapshots=_RUNS + 1)


def copy_of(folder: Path, context: Path) -> Build:
    """A copy of a whole tree."""
    spec = ["((from busybox) (copy (src .) (dst /tree/)))"]
    return _write(folder, spec, ["FROM busybox", "COPY . /tree/"], context, snapshots=1)


def between(folder: Path) -> Build:
    """A copy of a whole tree from another build, which is an image that is there: ``QUARRY``."""
    spec = [f"((build quarry ((from {QUARRY})))"]
    spec += ["(from busybox) (copy (from (build quarry)) (src tree) (dst /tree/)))"]
    lines = [f"FROM {QUARRY} AS quarry", "FROM busybox", "COPY --from=quarry /tree /tree/"]
    return _write(folder, spec, lines, _empty(folder), snapshots=2)


def independent(folder: Path, nonce: int) -> Build:
    """Eight nested builds of four runs each that need nothing of each other, and a copy of one
    file from each."""
    spec = ["("]
    copies = ["(from busybox)"]
    for name in (f"part{number}" for number in range(_PARTS)):
        runs = [f'(run (shell "echo {name} {run} {nonce} >> /made"))' for run in range(_PART_RUNS)]
        spec += [f"(build {name} ((from busybox) (shell /bin/sh -c)", *runs, "))"]
        copies.append(f"(copy (from (build {name})) (src made) (dst /{name}))")
    lines = ["FROM busybox"]  # docker build has no part in this
    snapshots = _PARTS * (_PART_RUNS + 1)
    return _write(folder, [*spec, *copies, ")"], lines, _empty(folder), snapshots)


def large_file(folder: Path, nonce: int) -> Build:
    """A copy of one file of 5 GB, almost all of it holes, from another build."""
    name = f"large-{nonce}"
    spec = [f"((build quarry ((from {QUARRY})))"]
    spec += [f"(from busybox) (copy (from (build quarry)) (src large) (dst /{name})))"]
    lines = [f"FROM {QUARRY} AS quarry", "FROM busybox", f"COPY --from=quarry /large /{name}"]
    return _write(folder, spec, lines, _empty(folder), snapshots=2)


def _empty(folder: Path) -> Path:
    context = folder / "empty"
    context.mkdir(exist_ok=True)
    return context


def make_tree(folder: Path, nonce: int) -> Path:
    """20,000 files, 100 MB, that nobody has seen before, in 100 folders; written to disk."""
    tree = folder / f"tree-{nonce}"
    content = random.Random(nonce)
    size = COPY_BYTES // COPY_FILES
    for number in range(COPY_FILES):
        if number % 200 == 0:
            below = tree / f"{number // 200:02}"
            below.mkdir(parents=True)
        (below / f"{number:05}").write_bytes(content.randbytes(size))
    os.sync()
    return tree


def _write(folder: Path, spec: list[str], lines: list[str], context: Path, snapshots: int) -> Build:
    build = Build(folder / "bench.spec", folder / "Dockerfile", context, snapshots)
    build.spec.write_text("\n ".join(spec) + "\n")
    build.dockerfile.write_text("\n".join(lines) + "\n")
    return build
