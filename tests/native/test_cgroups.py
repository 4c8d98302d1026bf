from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from obuild.engine import Limits
from obuild.engine.native.cgroups import Cgroups, exhausted, find, remove, require, step_path, sweep
from obuild.errors import EngineUnavailable

_REST = "rw,nosuid - {kind} {kind} {options}"


def process(folder: Path, *mounts: tuple[str, str, str]) -> str:
    """Files of /proc of a process that sees these mounts: kind, folder, options."""
    lines = [
        f"{n} 1 0:{n} / {path} " + _REST.format(kind=kind, options=options)
        for n, (kind, path, options) in enumerate(mounts)
    ]
    (folder / "mountinfo").write_text("\n".join(lines) + "\n")
    return str(folder)


def test_version_1_and_both(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "two"):
        (tmp_path / name).mkdir()
    found = find(
        process(
            tmp_path,
            ("ext4", "/", "rw,discard"),
            ("cgroup", f"{tmp_path}/memory", "rw,memory"),
            ("cgroup", f"{tmp_path}/cpu", "rw,cpu,cpuacct"),
            ("cgroup", f"{tmp_path}/gone", "rw,xattr,name=systemd"),
            ("cgroup2", f"{tmp_path}/two", "rw,nsdelegate"),
        )
    )
    assert found.version == 1
    assert found.hybrid == f"{tmp_path}/two"
    assert dict(found.mounts) == {
        "memory": f"{tmp_path}/memory",
        "cpu": f"{tmp_path}/cpu",
        "cpuacct": f"{tmp_path}/cpu",
        "name=systemd": f"{tmp_path}/gone",
    }
    assert found.controllers == ("cpu", "cpuacct", "memory")


def test_version_2(tmp_path: Path) -> None:
    mounts = ("cgroup2", str(tmp_path), "rw")
    assert find(process(tmp_path, mounts)) == Cgroups(2, (("unified", str(tmp_path)),), ())
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.controllers").write_text("memory cpu\n")
    assert find(process(tmp_path, mounts)).controllers == ("cpu", "memory")
    assert find(process(tmp_path, ("proc", "/proc", "rw"))) == Cgroups(0, (), ())


def test_limits_that_cannot_be_had_are_refused() -> None:
    memory, cpus = Limits(memory=1 << 30), Limits(cpus=1.5)
    able = Cgroups(1, (), ("cpu", "memory"))
    require(able, memory, rootless=False)
    require(able, cpus, rootless=False)
    require(Cgroups(0, (), ()), Limits(), rootless=True)
    with pytest.raises(EngineUnavailable, match="memory limits need control groups") as refused:
        require(able, memory, rootless=True)
    assert "MemoryMax=1073741824" in (refused.value.hint or "")
    with pytest.raises(EngineUnavailable, match="CPU limits need control groups") as refused:
        require(able, cpus, rootless=True)
    assert "CPUQuota=150%" in (refused.value.hint or "")
    with pytest.raises(EngineUnavailable, match="none are mounted"):
        require(Cgroups(0, (), ()), cpus, rootless=False)
    with pytest.raises(EngineUnavailable, match="the control group controller memory"):
        require(Cgroups(2, (), ("cpu",)), memory, rootless=False)


def test_version_2_tells_of_processes_that_were_ended(tmp_path: Path) -> None:
    limits = Limits(memory=1 << 20)
    two = Cgroups(2, (("unified", str(tmp_path)),), ("memory",))
    assert step_path("a-1", Limits()) == "/a-1"
    assert step_path("a-1", limits) == "/a-1/run"
    assert not exhausted(two, "a-1", limits)
    (tmp_path / "a-1").mkdir()
    events = tmp_path / "a-1/memory.events"
    events.write_text("low 0\noom 1\noom_kill 0\n")
    assert not exhausted(two, "a-1", limits)
    events.write_text("low 0\noom 2\noom_kill 1\n")
    assert exhausted(two, "a-1", limits)
    assert not exhausted(two, "a-1", Limits())


def test_sweep_takes_what_is_ours_and_dead(as_root: None) -> None:
    found = find()
    if "memory" not in found.controllers or found.version != 1:
        pytest.skip("groups are made here where version 1 has a controller for memory")
    folder = dict(found.mounts)["memory"]
    prefix = f"obuild-test-{os.getpid()}-sweep"
    names = [f"{prefix}-dead", f"{prefix}-alive", f"other-{prefix}"]
    for name in names:
        os.makedirs(f"{folder}/{name}/run")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        Path(f"{folder}/{names[1]}/run/cgroup.procs").write_text(str(sleeper.pid))
        assert sweep(found, prefix) == [names[0]]
        assert os.path.exists(f"{folder}/{names[1]}/run")
    finally:
        sleeper.kill()
        sleeper.wait()
    for name in names[1:]:
        remove(found, name)
        assert not os.path.exists(f"{folder}/{name}")
