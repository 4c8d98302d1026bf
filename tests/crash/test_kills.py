"""kill -9 of obuild at any moment (issue 4, "Crash safety"; the contract of ``obuild.engine``)."""

from __future__ import annotations

import time

import pytest

from tests.crash.site import Site, dice, rounds, words

pytestmark = [pytest.mark.engine, pytest.mark.timeout(0)]  # each build has a deadline


def test_kill_9_of_obuild(site: Site) -> None:
    """What was complete is not built again, what was not is gone; the result is right."""
    random = dice("obuild")
    for _ in range(rounds(4)):
        site.new_edition()
        for _ in range(random.choice([1, 1, 2])):  # the second dies while it mends
            process = site.start()
            after = random.uniform(0.15, site.seconds)
            site.note(f"kill -9 after {after:.3f} s")
            time.sleep(after)
            site.kill(process)
        site.check_build(site.snapshots(marked_only=True))
    site.check_clean()


def test_kill_9_of_one_of_two(site: Site) -> None:
    """Two builds of the same on one store: the one that lives goes on, whichever did the
    work; afterwards nothing is there of the dead one."""
    random = dice("two")
    for _ in range(rounds(2)):
        site.new_edition()
        first = site.start()
        time.sleep(random.uniform(0, 0.5))
        second = site.start()
        after = random.uniform(0.1, site.seconds)
        dies, lives = random.choice([(first, second), (second, first)])
        which = "first" if dies is first else "second"
        site.note(f"two builds, kill -9 of the {which} after {after:.3f} s")
        time.sleep(after)
        site.kill(dies)
        code, events = site.finish(lives)
        assert code == 0, site.tell(words(events))
        site.check_build(site.snapshots())
    site.check_clean()
