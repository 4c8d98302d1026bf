"""Chains of steps that are longer than a stack of layers may be."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from obuild.engine.native.records import read_record
from tests.engine.bases import Steps, TreeFiles
from tests.engine.natives import make_native
from tests.native.conftest import give_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_STEPS = 140
_SEED = 5


def _change(random: Random) -> str:
    """Something that a step may do to a tree: made, changed, removed, replaced by another kind."""
    name = f"/t/{random.randrange(6)}/{random.randrange(4)}"
    folder = name.rpartition("/")[0]
    return random.choice(
        [
            f"mkdir -p {folder}; rm -rf {name}; echo {random.randrange(99)} > {name}",
            f"rm -rf {folder}",
            f"rm -rf {folder}; mkdir -p {folder}; chmod 70{random.randrange(8)} {folder}",
            f"rm -rf {name}; mkdir -p {name}/deep; echo x > {name}/deep/f",
            f"mkdir -p {folder}; rm -rf {name}; ln -s /etc/passwd {name}",
            f"mkdir -p {folder}; chown {random.randrange(9)}:7 {folder}",
            f"rm -rf {folder}; echo file > {folder}",
            f"rm -rf {folder} /t/hard; mkdir -p {folder}; echo h > {name}; ln {name} /t/hard",
        ]
    )


@pytest.mark.parametrize("seed", [_SEED, 77])
def test_a_long_chain_is_what_its_steps_made(tmp_path: Path, seed: int) -> None:
    """The same changes in one step, and in a step each, make the same tree."""
    if os.geteuid() != 0:
        give_up("needs root")
    random = Random(seed)
    changes = []
    for _ in range(_STEPS):
        change = _change(random)
        # A file where the change needs a folder goes first.
        first = "for f in /t/?; do [ -d $f ] || rm -f $f; done 2>/dev/null"
        changes.append(f"mkdir -p /t; {first}; {change}")
    engine = make_native(tmp_path / "store", "obuilder-chains")
    try:
        steps = Steps(engine)
        base = key = steps.base("busybox")
        for number, change in enumerate(changes):
            if number % 50 == 49:
                key = steps.put(key, "/t/put/", TreeFiles.of((b"f", b"%d" % number)), str(number))
            key = steps.run(key, f": {number}; {change}")
        record = read_record(f"{tmp_path}/store/native/snapshots/{key}")
        assert record is not None
        assert len(record.layers) >= _STEPS
        assert len(record.stack) <= 65
        puts = {49: b"49", 99: b"99"}
        whole = []
        for number, change in enumerate(changes):
            if number in puts:
                put = f"mkdir -p /t/put; rm -rf /t/put/f; printf {number} > /t/put/f"
                whole.append(put)
            whole.append(change)
        at_once = steps.run(base, "\n".join(whole))
        see = (
            "cd /t; find . | sort | while read -r n; do stat -c '%n %F %a %u %g' $n;"
            " [ ! -f $n ] || [ -L $n ] || cat $n; [ ! -L $n ] || readlink $n; done"
        )
        assert steps.see(key, see) == steps.see(at_once, see)
    finally:
        engine.clean()
        engine.close()
