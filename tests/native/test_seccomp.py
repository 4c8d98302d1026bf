from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.engine.native.bundle import NO_NETWORK, Mount, oci_config
from obuild.engine.native.seccomp import architectures, profile
from obuild.errors import EngineUnavailable

MACHINE = os.uname().machine

# Numbers of x86_64. Arguments are such that without a filter the answer is another one.
_CALLS = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers):
    ctypes.set_errno(0)
    result = libc.syscall(*map(ctypes.c_long, numbers))
    return [result >= 0, errno.errorcode.get(ctypes.get_errno(), "")]
print(json.dumps({
    "keyctl": call(250, 0, -3, 0, 0, 0),
    "add_key": call(248, 0, 0, 0, 0, 0),
    "io_uring_setup": call(425, 1, 0),
    "userfaultfd": call(323, 0),
    "open_by_handle_at": call(304, -1, 0, 0),
    "perf_event_open": call(298, 0, 0, -1, -1, 0),
    "bpf": call(321, 99, 0, 0),
    "mount": call(165, 0, 0, 0, 0, 0),
    "fsopen": call(430, 0, 0),
    "setns": call(308, -1, 0),
    "unshare users": call(272, 0x10000000),
    "clone users": call(56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": call(435, 0, 0),
    "vsock": call(41, 40, 1, 0),
    "vsock, hidden": call(41, (1 << 32) | 40, 1, 0),
    "no randomization": call(135, 0x0040000),
    "no randomization, top bit": call(135, 0x80040000),
    "personality?": call(135, 0xffffffff),
    "linux32": call(135, 8),
    "linux": call(135, 0),
    "reboot": call(169, 0, 0, 0, 0),
    "getpid": call(39),
    "inet": call(41, 2, 1, 0),
    "fsync": call(74, -1),
    "sync": call(162),
    "syncfs": call(306, -1),
}))
"""

_EPERM = {
    *("keyctl", "add_key", "io_uring_setup", "userfaultfd", "open_by_handle_at", "bpf"),
    *("perf_event_open", "mount", "fsopen", "setns", "unshare users", "clone users", "vsock"),
    *("vsock, hidden", "no randomization", "no randomization, top bit", "reboot"),
}


@pytest.mark.skipif(MACHINE != "x86_64", reason="the numbers of the calls are those of x86_64")
@pytest.mark.parametrize("fast_sync", [False, True])
def test_forbidden_calls_fail_and_others_work(box: Any, fast_sync: bool) -> None:
    python = os.path.realpath(box.python)
    mounts = [
        Mount(name, name, read_only=True)
        for name in ("/usr", "/lib", "/lib64", os.path.dirname(os.path.dirname(python)))
        if os.path.isdir(name) and (name == "/usr" or not name.startswith("/usr"))
    ]
    its = oci_config(
        args=[python, "-I", "-S", "-c", _CALLS],
        env=[],
        cwd="/",
        uid=0,
        gid=0,
        hostname="h",
        network=NO_NETWORK,
        rootless=box.rootless,
        mounts=mounts,
        seccomp=profile(MACHINE, fast_sync=fast_sync),
        cgroup=None if box.rootless else f"/obuild-test-{os.getpid()}-seccomp",
    )
    done = box.run(its)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    expected = {name: [False, "EPERM"] for name in _EPERM}
    expected["clone3"] = [False, "ENOSYS"]
    for name in ("personality?", "linux32", "linux", "getpid", "inet", "sync"):
        expected[name] = [True, ""]
    for name in ("fsync", "syncfs"):
        expected[name] = [True, ""] if fast_sync else [False, "EBADF"]
    assert answers == expected


_32_BIT = b"""
void _start(void) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(NUMBER), "b"(0x10000000));
    __asm__ volatile("int $0x80" : : "a"(1), "b"(-result));
}
"""


@pytest.mark.skipif(MACHINE != "x86_64", reason="only x86_64 runs programs of i386")
@pytest.mark.parametrize(("number", "status"), [(310, 1), (435, 38), (20, 255)])
def test_programs_of_i386_are_held_to_the_same(box: Any, number: int, status: int) -> None:
    """unshare, clone3, getpid (which is 1)."""
    import shutil
    import subprocess

    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = _32_BIT.replace(b"NUMBER", b"%d" % number)
    target: Path = box.folder / "rootfs/prog"
    command = ["gcc", "-m32", "-nostdlib", "-static", "-x", "c", "-o", str(target), "-"]
    subprocess.run(command, input=source, check=True)
    done = box.run(
        oci_config(
            args=["/prog"],
            env=[],
            cwd="/",
            uid=0,
            gid=0,
            hostname="h",
            network=NO_NETWORK,
            rootless=box.rootless,
            seccomp=profile(MACHINE),
            cgroup=None if box.rootless else f"/obuild-test-{os.getpid()}-i386",
        )
    )
    assert done.returncode == status


_BITS = st.integers(0, 31).map(lambda n: 1 << n)


@given(st.one_of(st.integers(0, 0xFFFFFFFF), _BITS, _BITS.map(lambda bit: 0xFFFFFFFF ^ bit)))
def test_exactly_the_usual_personalities_are_let_through(value: int) -> None:
    rules = [rule for rule in profile("x86_64")["syscalls"] if rule["names"] == ["personality"]]
    denied = any(value & a["value"] == a["valueTwo"] for rule in rules for a in rule["args"])
    assert denied is (value not in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF))


def test_a_machine_without_a_profile() -> None:
    with pytest.raises(EngineUnavailable, match="vax"):
        architectures("vax")
