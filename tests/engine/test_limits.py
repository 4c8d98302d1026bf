"""Limits of runs act in the cgroup, and networks are what they are asked to be."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import pytest
from docker import APIClient

from obuild.engine import Limits
from obuild.errors import BuildError, EngineError, StepFailed
from tests.engine.bases import Steps

pytestmark = pytest.mark.engine

MEBIBYTE = 1 << 20
EAT = "tail /dev/zero"  # keeps its last line, which has no end


def test_limits_stand_in_the_cgroup(steps: Steps, base: str) -> None:
    see = (
        "cd /sys/fs/cgroup; if [ -e cgroup.controllers ]; then cat memory.max cpu.max; else"
        " cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; fi"
    )
    got: list[bytes] = []
    limits = Limits(cpus=0.5, memory=64 * MEBIBYTE)
    steps.run(base, see, limits=limits, output=got.append)
    memory, quota, period = b"".join(got).split()
    assert int(memory) == 64 * MEBIBYTE
    assert int(quota) / int(period) == 0.5


@pytest.mark.parametrize(
    "cmd",
    [
        pytest.param(EAT, id="the command itself"),
        pytest.param(f"{EAT}; exit $?", id="a child of the shell"),
        pytest.param(f"{EAT} || exit 1", id="a shell that hides the status"),
        pytest.param(f"({EAT}) | cat; exit 7", id="far below the shell"),
    ],
)
def test_a_step_killed_for_memory_says_so(steps: Steps, base: str, cmd: str) -> None:
    with pytest.raises(StepFailed, match=r"killed: out of memory \(limit 32m\)") as caught:
        steps.run(base, cmd, limits=Limits(memory=32 * MEBIBYTE))
    assert caught.value.hint


def test_a_step_killed_otherwise_does_not(steps: Steps, base: str) -> None:
    with pytest.raises(StepFailed, match="exit status 137"):
        steps.run(base, "sh -c 'kill -9 $$'; exit $?")


@pytest.fixture
def networks(api: APIClient) -> Iterator[tuple[str, str]]:
    """Two networks without a way out."""
    made = [f"obuild-test-{token_hex(4)}" for _ in range(2)]
    for name in made:
        api.create_network(name, driver="bridge", internal=True)
    yield made[0], made[1]
    for name in made:
        api.remove_network(name)


SEE = "ls /sys/class/net | grep -v '^tunl\\|^sit\\|^ip6\\|^gre\\|^erspan\\|^ip_vti' | sort"


def _interfaces(steps: Steps, base: str, *names: str) -> list[bytes]:
    got: list[bytes] = []
    steps.run(base, SEE, network=names, output=got.append)
    return b"".join(got).split()


def test_networks(steps: Steps, base: str, networks: tuple[str, str]) -> None:
    one, two = networks
    assert _interfaces(steps, base) == [b"lo"]
    assert _interfaces(steps, base, "none") == [b"lo"]
    assert _interfaces(steps, base, one) == [b"eth0", b"lo"]
    assert _interfaces(steps, base, one, two) == [b"eth0", b"eth1", b"lo"]
    assert len(_interfaces(steps, base, "host")) >= 2


def test_the_network_of_another_container(
    steps: Steps, base: str, api: APIClient, prefix: str
) -> None:
    name = f"{prefix}-idle-of-the-test"
    config = {"Image": "busybox", "Entrypoint": ["sleep", "60"], "Hostname": "lender"}
    lender = api.create_container_from_config(config, name)["Id"]
    api.start(lender)
    try:
        got: list[bytes] = []
        steps.run(base, "hostname", network=(f"container:{name}",), output=got.append)
        assert got == [b"lender\n"]
    finally:
        api.remove_container(lender, force=True)


def test_a_network_that_is_not_there(steps: Steps, base: str, networks: tuple[str, str]) -> None:
    for asked in (("no-such-net",), (networks[0], "no-such-net"), ("container:no-such",)):
        with pytest.raises(EngineError, match="no-such") as caught:
            steps.run(base, "true", network=asked)
        assert caught.value.hint
    with pytest.raises(BuildError, match="at once"):
        steps.run(base, "true", network=("host", networks[0]))


def test_a_guest_without_the_shell(steps: Steps, base: str) -> None:
    for shell in (("/bin/bash", "-c"), ("bash", "-c")):
        with pytest.raises(StepFailed) as caught:
            steps.run(base, "true", shell=shell)
        assert caught.value.status == 127
        assert "missing in the image" in caught.value.message + str(caught.value.hint)
    empty = steps.run(base, "rm -rf /bin /sbin /usr /lib /lib64 || :")
    with pytest.raises(StepFailed, match="/bin/sh is missing"):
        steps.run(empty, "true")
