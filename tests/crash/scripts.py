"""The build that is killed: it uses all that obuild can do, and each edition has its own keys."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["COPIES", "MOUNTS", "expected", "secret_of", "write"]

COPIES = True
"""Whether copies from other builds are part of it."""
MOUNTS = True
"""Whether caches and secrets are."""

_BIG = 1_500_000
_FILES = 300


def write(folder: Path, edition: int) -> Path:
    """The spec and its build context in ``folder``; returns the spec."""
    src = folder / "src"
    (src / "tree").mkdir(parents=True, exist_ok=True)
    (src / "small.txt").write_text(f"small {edition}\n")
    (src / "big").write_bytes(_big(edition))
    for number in range(_FILES):
        (src / "tree" / f"f{number}").write_text(f"{number}\n" * 500)
    (folder / "secret").write_text(secret_of(edition))
    spec = folder / "crash.spec"
    spec.write_text(_spec(edition))
    return spec


def expected(edition: int) -> dict[str, bytes]:
    """The contents of what the build makes, by path."""
    files = {
        "round": f"{edition}\n".encode(),
        "in/small.txt": f"small {edition}\n".encode(),
        "in/big": _big(edition),
        "in/tree/f7": b"7\n" * 500,
        "in/tree/f299": b"299\n" * 500,
        "w/count": b"300\n",
        "w/id": b"1000\n",
    }
    if COPIES:
        files["tools/t/tool"] = f"tool {edition}\n".encode()
        files["tools/t/deep/more"] = b"more\n"
    if MOUNTS:
        files["w/secret"] = hashlib.sha256(secret_of(edition).encode()).hexdigest().encode() + b"\n"
    return files


def secret_of(edition: int) -> str:
    return f"a secret of edition {edition}"


def _big(edition: int) -> bytes:
    return hashlib.shake_128(b"%d" % edition).digest(_BIG)


def _spec(edition: int) -> str:
    tools = "(copy (from (build tools)) (src /t) (dst /tools/))" if COPIES else ""
    mounted = (
        "(run (cache (downloads (target /cache))) (secrets (key (target /run/secrets/key)))"
        " (shell \"sha256sum /run/secrets/key | cut -d ' ' -f 1 > /w/secret;"
        ' echo >> /cache/log; wc -l < /cache/log"))'
        if MOUNTS
        else ""
    )
    return f"""\
((build tools
  ((from busybox)
   (shell /bin/sh -c)
   (run (shell "mkdir -p /t/deep; echo tool {edition} > /t/tool; echo more > /t/deep/more"))))
 (from busybox)
 (shell /bin/sh -c)
 (env EDITION {edition})
 (run (shell "echo $EDITION > /round; mkdir -m 777 /w; sleep 0.1"))
 (copy (src small.txt) (dst /in/))
 {tools}
 (copy (src big) (dst /in/big))
 (copy (src tree) (dst /in/))
 {mounted}
 (workdir /w)
 (run (shell "ls /in/tree | wc -l > /w/count; rm -f /in/tree/f1"))
 (user (uid 1000) (gid 1000))
 (run (shell "id -u > /w/id")))
"""
