"""The engine dies, starts again, or is pruned behind obuild's back (issue 4, "Crash safety")."""

from __future__ import annotations

import time
from threading import Thread

import pytest
from docker.errors import APIError

from tests.crash.site import Site, dice, rounds, words

pytestmark = [pytest.mark.engine, pytest.mark.timeout(0)]  # each build has a deadline

_GONE = 3
"""The exit code for an engine that is gone, or has lost what it had."""


def test_the_daemon_dies(site: Site) -> None:
    """A build whose daemon is killed, or stopped, ends by itself and says so; the next one
    on the daemon that was started again does what is missing."""
    random = dice("daemon")
    for _ in range(rounds(2)):
        site.new_edition()
        process = site.start()
        after = random.uniform(0.2, site.seconds)
        how = random.choice(["kill", "kill", "stop"])
        also = random.random() < 0.3
        site.note(f"{how} of the daemon after {after:.3f} s{', then of obuild' if also else ''}")
        time.sleep(after)
        if how == "kill":
            site.daemon.kill()
        else:
            site.daemon.stop()
        if also:
            site.kill(process)
        else:
            code, events = site.finish(process)
            assert code in (0, _GONE), site.tell(f"exit {code}: {words(events)}")
        site.daemon.start()
        site.check_build(site.snapshots(marked_only=True))
    site.check_clean()


def test_the_daemon_is_pruned(site: Site) -> None:
    """``docker system prune -af`` and ``volume prune``, between builds and during one."""
    random = dice("prune")
    for _ in range(rounds(2)):
        site.new_edition()
        process = site.start()
        after = random.uniform(0, site.seconds * 1.2)
        how = random.choice(["with it", "after its kill"])
        site.note(f"prune after {after:.3f} s, {how}")
        time.sleep(after)
        if how == "after its kill":
            site.kill(process)
        _prune(site)
        if how == "with it":
            code, events = site.finish(process)
            assert code in (0, _GONE), site.tell(f"exit {code}: {words(events)}")
            if code == 0 and random.random() < 0.5:
                _prune(site)
        site.ensure_base()
        site.check_build(site.snapshots(marked_only=True))
    site.check_clean()


def test_the_daemon_is_pruned_all_the_time(site: Site) -> None:
    """Whatever it takes away, the build ends in order and the next one is right."""
    for _ in range(rounds(1)):
        site.new_edition()
        process = site.start()
        site.note("prune again and again")
        until = time.monotonic() + site.seconds
        pruner = Thread(target=_prune_until, args=(site, until))
        pruner.start()
        code, events = site.finish(process)
        pruner.join()
        assert code in (0, _GONE), site.tell(f"exit {code}: {words(events)}")
        site.ensure_base()
        site.check_build()
    site.check_clean()


def _prune_until(site: Site, until: float) -> None:
    while time.monotonic() < until:
        _prune(site)


def _prune(site: Site) -> None:
    """What ``docker system prune --all --force --volumes`` and ``volume prune --all`` do."""
    api = site.api()
    try:
        for prune in (
            lambda: api.prune_containers(),
            lambda: api.prune_images(filters={"dangling": False}),
            lambda: api.prune_networks(),
            lambda: api.prune_volumes(filters={"all": True}),
        ):
            try:
                prune()
            except APIError as error:  # 20.10 has no such filter; something is in use
                if error.status_code not in (400, 409, 500):
                    raise
        for name in [row["Name"] for row in api.volumes()["Volumes"] or ()]:
            try:
                api.remove_volume(name)
            except APIError as error:  # in use
                if error.status_code not in (404, 409):
                    raise
    finally:
        api.close()
