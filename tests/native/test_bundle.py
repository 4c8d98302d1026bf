from __future__ import annotations

from typing import Any

from obuild.engine import Limits
from obuild.engine.native.bundle import CAPABILITIES, HOST_NETWORK, NO_NETWORK, Mount, oci_config


def config(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "args": ("/bin/sh", "-c", "x"),
        "env": (("A", "1=2"),),
        "cwd": "/w",
        "uid": 0,
        "gid": 0,
        "hostname": "builder",
        "network": NO_NETWORK,
        "rootless": False,
    }
    return oci_config(**{**given, **changes})


def kinds(made: dict[str, Any]) -> dict[str, Any]:
    return {each["type"]: each.get("path") for each in made["linux"]["namespaces"]}


def test_only_root_holds_capabilities_and_nobody_inherits_them() -> None:
    assert len(CAPABILITIES) == 14
    assert "CAP_SYS_ADMIN" not in CAPABILITIES
    root, other = config()["process"], config(uid=1000)["process"]
    assert root["capabilities"]["effective"] == list(CAPABILITIES)
    assert other["capabilities"]["effective"] == other["capabilities"]["permitted"] == []
    assert other["capabilities"]["bounding"] == list(CAPABILITIES)
    assert set(root["capabilities"]) == {"bounding", "effective", "permitted"}
    assert root["noNewPrivileges"] is True
    assert config(no_new_privileges=False)["process"]["noNewPrivileges"] is False
    assert root["env"] == ["A=1=2"]


def test_networks() -> None:
    assert "network" in kinds(config())
    assert "network" not in kinds(config(network=HOST_NETWORK))
    assert kinds(config(network="/proc/7/ns/net"))["network"] == "/proc/7/ns/net"
    for changes, kind in (
        ({}, "sysfs"),
        ({"rootless": True}, "sysfs"),
        ({"network": HOST_NETWORK}, "sysfs"),
        ({"network": HOST_NETWORK, "rootless": True}, "none"),
    ):
        mounts = {each["destination"]: each for each in config(**changes)["mounts"]}
        assert mounts["/sys"]["type"] == kind
        assert "ro" in mounts["/sys"]["options"]


def test_limits_stand_with_a_group_alone() -> None:
    assert "resources" not in config()["linux"]
    linux = config(cgroup="/a", limits=Limits(cpus=0.5, memory=1 << 20))["linux"]
    assert linux["cgroupsPath"] == "/a"
    assert linux["resources"]["memory"] == {"limit": 1 << 20}
    assert linux["resources"]["cpu"] == {"quota": 50_000, "period": 100_000}
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    least = config(cgroup="/a", limits=Limits(cpus=0.001))["linux"]["resources"]["cpu"]
    assert least["quota"] == 1_000


def test_mounts_come_last_in_their_order() -> None:
    made = config(mounts=[Mount("/s", "/t", read_only=True), Mount("/u", "/t/v")])["mounts"]
    assert [each["destination"] for each in made[-2:]] == ["/t", "/t/v"]
    assert [each["options"][-1] for each in made[-2:]] == ["ro", "rw"]
