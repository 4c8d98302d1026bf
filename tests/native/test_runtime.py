from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from obuild.engine import Limits
from obuild.engine.native import cgroups, runtime
from obuild.engine.native.bundle import HOST_NETWORK, NO_NETWORK, Mount, oci_config
from obuild.engine.native.runtime import Failure, Runtime, explain, find, probe
from obuild.engine.native.seccomp import profile
from obuild.errors import EngineUnavailable

MACHINE = os.uname().machine
PREFIX = f"obuild-test-{os.getpid()}"


def config(box: Any, *args: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "args": args,
        "env": [("PATH", "/bin"), ("A", "b c")],
        "cwd": "/",
        "uid": 0,
        "gid": 0,
        "hostname": "builder",
        "network": NO_NETWORK,
        "rootless": box.rootless,
        "seccomp": profile(MACHINE),
        "cgroup": None if box.rootless else f"/{PREFIX}-plain",
    }
    return oci_config(**{**given, **changes})


def shell(box: Any, script: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    found: subprocess.CompletedProcess[str] = box.run(
        config(box, "/bin/sh", "-c", script, **changes)
    )
    return found


def test_a_command_runs_in_a_world_of_its_own(box: Any) -> None:
    script = (
        "id -u; id -g; cat /proc/sys/kernel/hostname; echo $A; pwd; echo $$;"
        "ls /sys/class/net; ip addr show lo | grep -c UP; exit 7"
    )
    done = shell(box, script, cwd="/made/here", uid=1000, gid=33)
    assert done.stdout.split("\n") == [
        *("1000", "33", "builder", "b c", "/made/here", "1", "lo", "1", ""),
    ]
    assert (done.returncode, done.stderr) == (7, "")
    assert explain(box.runtime, box.log(), ["/bin/sh"]) is None
    assert os.listdir(box.folder / "state") == []
    assert {"dev", "proc", "sys", "made"} < set(os.listdir(box.folder / "rootfs"))


def test_the_network_of_the_host_and_mounts(box: Any) -> None:
    (box.folder / "given").write_text("nameserver 192.0.2.1\n")
    cache = box.folder / "cache"
    cache.mkdir()
    if box.user:
        os.chown(cache, box.user.pw_uid, box.user.pw_gid)
    mounts = [
        Mount(str(box.folder / "given"), "/etc/resolv.conf", read_only=True),
        Mount(str(cache), "/cache"),
    ]
    script = "cat /etc/resolv.conf; echo x > /etc/resolv.conf; echo kept > /cache/f"
    done = shell(box, script, network=HOST_NETWORK, mounts=mounts)
    assert done.stdout == "nameserver 192.0.2.1\n"
    assert "Read-only" in done.stderr
    assert (cache / "f").read_text() == "kept\n"


def test_devices_of_the_host_cannot_be_opened(box: Any) -> None:
    disk = os.stat(_some_disk()).st_rdev
    node = f"b {os.major(disk)} {os.minor(disk)}"
    for place in ("/dev/d", "/d"):
        done = shell(box, f"mknod {place} {node}; cat {place} > /dev/null")
        assert done.returncode != 0
        assert "not permitted" in done.stderr
    assert shell(box, "cat < /dev/null > /dev/null").returncode == 0


def _some_disk() -> str:
    for name in sorted(os.listdir("/sys/class/block")):
        if os.path.exists(f"/dev/{name}"):
            try:
                os.close(os.open(f"/dev/{name}", os.O_RDONLY))
            except OSError:
                continue
            return f"/dev/{name}"
    pytest.skip("this host has no disk that root can open")


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["/nope"], 127, "/nope: there is no such"),
        (["nope"], 127, "nope: there is no such program on the PATH"),
        (["/note"], 126, "/note: it is not a program"),
        (["/tmp"], 126, "/tmp: it is not a program"),
    ],
)
def test_what_cannot_be_started(box: Any, args: list[str], status: int, words: str) -> None:
    (box.folder / "rootfs/note").write_text("no program")
    done = box.run(config(box, *args))
    failure = explain(box.runtime, box.log(), args)
    assert done.returncode == 1
    assert failure is not None
    assert failure.status == status
    assert words in failure.message


def test_a_working_directory_that_is_a_file(box: Any) -> None:
    (box.folder / "rootfs/note").write_text("no folder")
    shell(box, "true", cwd="/note")
    failure = explain(box.runtime, box.log(), ["/bin/sh"])
    assert failure is not None
    assert failure.status == 126
    assert "working directory" in failure.message


def test_a_mount_that_is_missing_is_no_fault_of_the_command(box: Any) -> None:
    shell(box, "true", mounts=[Mount("/nonexistent/x", "/x")])
    failure = explain(box.runtime, box.log(), ["/bin/sh"])
    assert failure is not None
    assert failure.status is None
    assert "/nonexistent/x" in failure.message


def test_a_killed_step_leaves_nothing_after_the_sweep(box: Any) -> None:
    name = f"{PREFIX}-killed"
    its = config(box, "/bin/sleep", "1000", cgroup=None if box.rootless else f"/{name}")
    (box.folder / "config.json").write_text(json.dumps(its))
    process = subprocess.Popen(box.argv(), start_new_session=True, **box.options())
    end = time.monotonic() + 20
    while not list((box.folder / "state").glob("t1/*")):
        assert time.monotonic() < end, "the step did not begin"
        time.sleep(0.02)
    time.sleep(0.3)
    inside = _descendants(process.pid)
    first = next(pid for pid in inside if os.path.exists(f"/proc/{pid}") and _is_first(pid))
    os.kill(first, 9)
    process.wait(20)
    end = time.monotonic() + 5
    while (alive := [pid for pid in inside if os.path.exists(f"/proc/{pid}")]) and (
        time.monotonic() < end
    ):
        time.sleep(0.02)
    assert alive == []
    runtime.discard(str(box.folder / "state"), "t1")
    runtime.discard(str(box.folder / "state"), "t1")
    assert os.listdir(box.folder / "state") == []
    found = cgroups.find()
    cgroups.remove(found, name)
    assert cgroups.sweep(found, name) == []
    assert _left(found, name) == []


def _left(found: cgroups.Cgroups, name: str) -> list[str]:
    folders = [*(path for _, path in found.mounts), *([found.hybrid] if found.hybrid else [])]
    return [path for path in folders if os.path.exists(f"{path}/{name}")]


def _descendants(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        for child in map(int, children):
            found += [child, *_descendants(child)]
    return found


def _is_first(pid: int) -> bool:
    """Whether it is the first process of a pid namespace (in the outermost of them)."""
    status = Path(f"/proc/{pid}/status").read_text()
    ids = next(line for line in status.splitlines() if line.startswith("NSpid")).split()
    return ids[-1] == "1"


def test_memory_limits_and_who_met_them(box: Any) -> None:
    found = cgroups.find()
    limits = Limits(memory=32 << 20, cpus=0.5)
    if box.rootless:
        with pytest.raises(EngineUnavailable, match="memory limits need"):
            cgroups.require(found, limits, rootless=True)
        return
    if not {"memory", "cpu"} <= set(found.controllers):
        pytest.skip("this host has no controllers for memory and CPU")
    cgroups.require(found, limits, rootless=False)
    for script, met in (("exit 0", False), ("x=a; while :; do x=$x$x; done", True)):
        name = f"{PREFIX}-memory"
        path = cgroups.step_path(name, limits)
        done = shell(box, script, limits=limits, cgroup=path)
        assert cgroups.exhausted(found, name, limits) is met
        assert (done.returncode != 0) is met
        cgroups.remove(found, name)
        assert _left(found, name) == []


def test_find_probes_in_order_and_keeps_the_answer(box: Any, tmp_path: Path) -> None:
    its = probe(str(box.folder), MACHINE, rootless=box.rootless)
    tried = []

    def attempt(candidate: Runtime) -> str:
        tried.append(candidate.name)
        box.runtime = candidate
        done = box.run(its)
        return "" if done.returncode == 0 else box.log() or done.stderr

    hybrid = cgroups.find().hybrid
    options: dict[str, Any] = {
        "search": os.path.dirname(box.runtime.path),
        "kept": str(tmp_path / "kept"),
        "rootless": box.rootless,
        "hybrid": hybrid,
    }
    first = find(attempt, **options)
    assert tried
    tried.clear()
    assert find(attempt, **options) == first
    assert tried == []
    (tmp_path / "kept").write_text('{"circumstances": 1')
    assert find(attempt, **options) == first
    assert tried


def test_find_says_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "search": str(tmp_path),
        "kept": str(tmp_path / "kept"),
        "rootless": False,
    }
    with pytest.raises(EngineUnavailable, match="no OCI runtime") as missing:
        find(lambda _: "", **options)
    assert "apt-get install crun" in (missing.value.hint or "")
    for name in ("crun", "runc"):
        shutil.copy("/bin/true", tmp_path / name)
    with pytest.raises(EngineUnavailable) as failed:
        find(lambda candidate: f"{candidate.name} is broken", **options)
    assert "crun is broken" in failed.value.message
    assert "runc is broken" in failed.value.message
    assert not (tmp_path / "kept").exists()


def test_warnings_of_a_runtime_are_no_failure() -> None:
    runc = Runtime("runc", "/runc", False)
    warning = '{"level":"warning","msg":"unable to get oom kill count","time":"x"}\n'
    assert explain(runc, warning, ["a"]) is None
    cut = explain(runc, warning + '{"level":"err', ["a"])
    assert cut == Failure('runc cannot start the step: {"level":"err', None)
