"""The contract of every engine (``obuild.engine``): runs, copies, failures, the store's needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from threading import Event

import pytest

from obuild.engine import Engine, ImageConfig, Limits, RunCommand, Seal
from obuild.errors import (
    BuildError,
    Cancelled,
    EngineError,
    ImageError,
    StepFailed,
)
from obuild.ir.ops import NamedUser, UnixUser
from obuild.ir.steps import RunStep
from tests.engine.bases import SHELL, Steps, TreeFiles, key_of

pytestmark = [pytest.mark.engine, pytest.mark.contract]

MakeBase = Callable[..., str]


def _dead(key: str) -> bool:
    return not key


# Runs


def test_output_comes_in_order_and_whole(steps: Steps, base: str) -> None:
    got: list[bytes] = []
    steps.run(base, "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done", output=got.append)
    assert b"".join(got) == b"".join(b"%d\n" % i for i in range(3000))


def test_output_of_both_streams_and_any_bytes(steps: Steps, base: str) -> None:
    seen = steps.see(base, r"printf '\377\0a'; printf 'b' >&2")
    assert seen in (b"\xff\0ab", b"b\xff\0a")


def test_files_of_a_run_are_in_its_snapshot(steps: Steps, base: str) -> None:
    first = steps.run(base, "echo one > /f")
    second = steps.run(first, "echo two >> /f")
    assert steps.see(second, "cat /f") == b"one\ntwo\n"
    assert steps.see(first, "cat /f") == b"one\n"


def test_environment_is_the_step_s_over_the_image_s(steps: Steps, make_base: MakeBase) -> None:
    base = steps.base(make_base("ENV KEPT=image", "ENV BOTH=image"))
    got: list[bytes] = []
    env = (("LATE", "2"), ("BOTH", "step"), ("EARLY", "1 $x"))
    step = steps.run(base, 'echo "$KEPT,$BOTH,$EARLY,$LATE,$HOSTNAME"', env=env, output=got.append)
    assert b"".join(got) == b"image,step,1 $x,2,builder\n"
    assert steps.see(step, 'echo "$KEPT,$BOTH,${EARLY-unset}"') == b"image,image,unset\n"


def test_user_workdir_hostname(steps: Steps, base: str) -> None:
    got: list[bytes] = []
    step = steps.run(
        base,
        "id -u; id -g; pwd; hostname",
        user=UnixUser(1234, 567),
        workdir="/not/there yet",
        output=got.append,
    )
    assert b"".join(got) == b"1234\n567\n/not/there yet\nbuilder\n"
    assert steps.see(step, "id -u; pwd") == b"0\n/\n"


def test_user_by_name(steps: Steps, base: str) -> None:
    got: list[bytes] = []
    steps.run(base, "id -u", user=NamedUser("root"), output=got.append)
    assert got == [b"0\n"]
    with pytest.raises(BuildError, match="nobody-of-that-name"):
        steps.run(base, "true", user=NamedUser("nobody-of-that-name"))


def test_no_network_unless_asked_for(steps: Steps, base: str) -> None:
    assert steps.see(base, "ls /sys/class/net") == b"lo\n"


def test_unknown_network(steps: Steps, base: str) -> None:
    with pytest.raises(EngineError, match="no-such-net") as caught:
        steps.run(base, "true", network=("no-such-net",))
    assert caught.value.hint


def test_standard_input_is_empty(steps: Steps, base: str) -> None:
    assert steps.see(base, "wc -c") == b"0\n"


def test_empty_shell_is_the_platform_s(steps: Steps, base: str) -> None:
    got: list[bytes] = []
    steps.run(base, "echo $0", shell=(), output=got.append)
    assert got == [b"/bin/sh\n"]


def test_status_of_a_command_that_failed(engine: Engine, steps: Steps, base: str) -> None:
    before = {snapshot.key for snapshot in engine.list()}
    with pytest.raises(StepFailed) as caught:
        steps.run(base, "echo lost > /f; exit 3")
    assert caught.value.status == 3
    assert caught.value.command == (*SHELL, "echo lost > /f; exit 3")
    assert {snapshot.key for snapshot in engine.list()} == before


def test_missing_program_is_named(steps: Steps, base: str) -> None:
    for program in ("nowhere", "/usr/bin/nowhere"):
        with pytest.raises(StepFailed, match=f"{program} is missing") as caught:
            steps.run(base, "x", shell=(program,))
        assert caught.value.status == 127


def test_what_is_not_utf8_is_refused_not_changed(steps: Steps, base: str) -> None:
    with pytest.raises(BuildError, match="UTF-8"):
        steps.run(base, "echo \udcff")


def test_out_of_memory_is_named(steps: Steps, base: str) -> None:
    with pytest.raises(StepFailed, match=r"out of memory \(limit 16m\)"):
        steps.run(base, "exec head -c 200m /dev/zero | exec tail", limits=Limits(memory=16 << 20))


def test_cpus_are_limited(steps: Steps, base: str) -> None:
    read = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true"
    got: list[bytes] = []
    steps.run(base, read, limits=Limits(cpus=0.5), output=got.append)
    assert b"".join(got).split()[0] == b"50000"


def test_cancel_ends_a_command(engine: Engine, steps: Steps, base: str) -> None:
    cancel = Event()
    threading.Timer(0.8, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        steps.run(base, "echo x > /f; sleep 60", cancel=cancel)
    assert time.monotonic() - began < 10
    assert [snapshot.key for snapshot in engine.list()] == [base]
    assert engine.sweep(_dead) == ()


def test_cancel_before_the_beginning(steps: Steps, base: str) -> None:
    cancel = Event()
    cancel.set()
    with pytest.raises(Cancelled):
        steps.run(base, "true", cancel=cancel)


def test_same_step_again_after_it_was_deleted(engine: Engine, steps: Steps, base: str) -> None:
    for _ in range(3):
        key = steps.run(base, "echo x > /f")
        engine.delete([key])
        assert not engine.exists(key)


def test_steps_side_by_side(steps: Steps, base: str) -> None:
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda i=i: keys.append(steps.run(base, f"echo {i} > /f")))
        for i in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps.see(key, "cat /f") for key in keys) == [b"%d\n" % i for i in range(5)]


# Bases that act by themselves


def test_volumes_of_a_base_lose_nothing(steps: Steps, make_base: MakeBase) -> None:
    base = steps.base(make_base("VOLUME /data"))
    first = steps.run(base, "mkdir -p /data; echo run > /data/a")
    second = steps.put(first, "/data/", TreeFiles.of((b"b", b"put\n")))
    third = steps.run(second, "echo again > /data/c")
    assert steps.see(third, "cat /data/a /data/b /data/c") == b"run\nput\nagain\n"
    copied = steps.put(base, "/data/", TreeFiles.of((b"b", b"put\n")))
    assert steps.see(copied, "cat /data/b") == b"put\n"


def test_entrypoint_healthcheck_onbuild_of_a_base_do_not_act(
    steps: Steps, make_base: MakeBase
) -> None:
    base = steps.base(
        make_base(
            'ENTRYPOINT ["/bin/false"]',
            'CMD ["x"]',
            "HEALTHCHECK --interval=1s CMD touch /checked",
            "ONBUILD RUN touch /onbuild",
        )
    )
    step = steps.run(base, "sleep 2.5; ls /checked /onbuild 2>&1; true")
    assert b"/checked" not in steps.see(step, "ls /")


EVERYTHING = (
    "ENV A=1",
    'ENTRYPOINT ["/bin/echo"]',
    'CMD ["x", "y z"]',
    "WORKDIR /work",
    "USER 12:34",
    "LABEL some.label=value",
    "VOLUME /data",
    "EXPOSE 80/tcp",
    "HEALTHCHECK --interval=30s CMD true",
    "ONBUILD RUN true",
)


def test_restore_gives_the_base_s_configuration(
    engine: Engine, steps: Steps, make_base: MakeBase
) -> None:
    base = steps.base(make_base(*EVERYTHING, StopSignal="SIGINT", Shell=["/bin/ash", "-c"]))
    first = steps.run(base, "echo > /f", env=[("B", "2"), ("A", "3")], workdir="/tmp")
    second = steps.put(first, "/data/", TreeFiles.of((b"g", b"g")))
    engine.restore(second, base)
    assert engine.inspect(second).config == engine.inspect(base).config
    assert steps.see(second, "ls /f /data/g") == b"/data/g\n/f\n"


def test_restore_does_nothing_where_nothing_is_wrong(
    engine: Engine, steps: Steps, base: str
) -> None:
    step = steps.put(base, "/", TreeFiles.of((b"f", b"f")))
    before = engine.inspect(step).id
    engine.restore(step, base)
    assert engine.inspect(step).id == before


def test_restore_of_a_snapshot_that_others_stand_on(
    engine: Engine, steps: Steps, base: str
) -> None:
    parent = steps.run(base, "echo 1 > /f")
    child = steps.run(parent, "echo 2 >> /f")
    engine.restore(parent, base)
    engine.restore(child, base)
    assert steps.see(child, "cat /f") == b"1\n2\n"
    assert steps.see(parent, "cat /f") == b"1\n"


def test_seal_sets_fields_over_the_base_s(
    engine: Engine, steps: Steps, make_base: MakeBase
) -> None:
    base = steps.base(make_base("ENV A=1", 'CMD ["x"]', "LABEL l=v"))
    parent = steps.run(base, "echo sealed > /f", env=[("LOST", "1")])
    config = ImageConfig(env=("B=2", "A=3"), workdir="/w", user="5:6", shell=("/bin/ash", "-c"))
    key = key_of(f"seal {parent}")
    engine.execute(key, parent, Seal(base, config), lambda _: None, Event())
    found = engine.inspect(key).config
    assert dict(v.split("=") for v in found.env if not v.startswith("PATH")) == {"A": "3", "B": "2"}
    assert (found.workdir, found.user) == ("/w", "5:6")
    assert (found.shell, found.cmd) == (("/bin/ash", "-c"), ("x",))
    assert steps.see(key, "cat /f") == b"sealed\n"


# The store's needs


def test_list_sizes_exists_delete(engine: Engine, steps: Steps, base: str) -> None:
    step = steps.run(base, "head -c 100000 /dev/zero > /zeros")
    found = {snapshot.key: snapshot for snapshot in engine.list()}
    assert found.keys() == {base, step}
    assert found[step].complete
    assert found[step].id == engine.inspect(step).id
    assert engine.exists(step)
    engine.delete([step, key_of("never was")])
    assert not engine.exists(step)
    assert engine.exists(base)


def test_publish(engine: Engine, steps: Steps, base: str, prefix: str) -> None:
    step = steps.run(base, "true")
    engine.publish(step, f"{prefix}-published:1.0")
    found = engine.resolve(f"{prefix}-published:1.0", None, lambda _: None, 1, pull=False)
    assert found.id == engine.inspect(step).id
    with pytest.raises(ImageError):
        engine.publish(step, "Not A Name")


def test_images_that_cannot_be_had(engine: Engine) -> None:
    for name in ("localhost:1/no/such", "Not A Name"):
        with pytest.raises(ImageError) as caught:
            engine.resolve(name, None, lambda _: None, 1, pull=False)
        assert caught.value.hint


def test_image_of_another_platform(engine: Engine, base_image: str) -> None:
    ours = engine.resolve(base_image, None, lambda _: None, 1, pull=False)
    again = engine.resolve(
        base_image, f"{ours.os}/{ours.architecture}", lambda _: None, 1, pull=False
    )
    assert again == ours
    with pytest.raises(ImageError):
        engine.resolve(base_image, "plan9/mips", lambda _: None, 1, pull=False)


def test_missing_snapshots(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.inspect(key_of("never was"))
    step = RunStep("/", UnixUser(0, 0), (), "true", SHELL, ())
    with pytest.raises(EngineError):
        engine.execute(
            key_of("child"), key_of("never was"), RunCommand(step), lambda _: None, Event()
        )


def test_healthcheck(engine: Engine, base_image: str) -> None:
    assert "started" in engine.healthcheck(base_image)
    assert "started" in engine.healthcheck(None)
    with pytest.raises(ImageError):
        engine.healthcheck("localhost:1/no/such")


def test_clean_removes_everything(engine: Engine, steps: Steps, base: str) -> None:
    engine.claim(None, "machine")
    steps.run(steps.put(base, "/x/", TreeFiles.of((b"f", b"x"))), "true")
    engine.clean()
    assert engine.list() == ()
