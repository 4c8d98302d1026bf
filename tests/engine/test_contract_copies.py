"""The contract of every engine (``obuild.engine``): copies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from obuild.engine import Engine
from obuild.errors import BuildError, SourceError
from tests.engine.bases import Steps, TreeFiles, folder, link, plain

pytestmark = [pytest.mark.engine, pytest.mark.contract]


def _dead(key: str) -> bool:
    return not key


def test_copy_into_a_folder_that_is_missing(steps: Steps, base: str) -> None:
    step = steps.put(base, "/srv/deep/er/", TreeFiles.of((b"f", b"content")))
    seen = steps.see(step, "cat /srv/deep/er/f; stat -c ' %a %u:%g' /srv /srv/deep /srv/deep/er")
    assert seen == b"content" + b" 755 0:0\n" * 3


def test_copy_of_one_file_to_a_name(steps: Steps, base: str) -> None:
    step = steps.put(base, "/a/b", TreeFiles.one(b"x", 0o750))
    assert steps.see(step, "cat /a/b; stat -c ' %a' /a/b") == b"x 750\n"
    step = steps.put(step, "/a/b", TreeFiles.one(b"y"))
    assert steps.see(step, "cat /a/b; stat -c ' %a' /a/b") == b"y 644\n"


def test_copy_to_the_guest_s_root(steps: Steps, base: str) -> None:
    step = steps.put(base, "/", TreeFiles.of((b"f", b"x")))
    assert steps.see(step, "cat /f; ls -d /bin/sh") == b"x/bin/sh\n"


@pytest.mark.parametrize("files", [3, 400])
def test_folders_that_are_there_stay_as_they_are(steps: Steps, base: str, files: int) -> None:
    """With few files and with many, which an engine may do in another way."""
    made = steps.run(
        base,
        "mkdir -p /x/y/z; chmod 1770 /x; chown 11:12 /x; chmod 2751 /x/y; chown 3:4 /x/y/z;"
        " touch -d '2001-02-03 04:05:06' /x/y/z/old /x",
    )
    many = TreeFiles.of(*((b"f%d" % i, bytes(2000)) for i in range(files)))
    step = steps.put(made, "/x/y/z/", many)
    look = "stat -c '%a %u:%g' /x /x/y /x/y/z; stat -c %Y /x; ls /x/y/z | wc -l"
    kept = b"1770 11:12\n2751 0:0\n755 3:4\n981173106\n%d\n" % (files + 1)
    assert steps.see(step, look) == kept


@pytest.mark.parametrize("files", [2, 400])
def test_a_linked_folder_is_followed_and_stays_a_link(steps: Steps, base: str, files: int) -> None:
    made = steps.run(base, "mkdir -p /usr/lib /r; ln -s usr/lib /lib; ln -s ../lib /r/l2")
    many = TreeFiles.of(*((b"f%d" % i, bytes(2000)) for i in range(files)))
    step = steps.put(made, "/r/l2/sub/", many)
    look = "readlink /lib; readlink /r/l2; ls /usr/lib/sub | wc -l"
    assert steps.see(step, look) == b"usr/lib\n../lib\n%d\n" % files


def test_a_folder_copied_onto_a_linked_folder(steps: Steps, base: str) -> None:
    made = steps.run(base, "mkdir -m 700 /real; ln -s /real /to")

    def make(root: bytes) -> Iterator[bytes]:
        yield folder(root + b"/", 0o755, 9)
        yield plain(root + b"/f", b"x")

    step = steps.put(made, "/to", TreeFiles(make, directory=False))
    assert steps.see(step, "readlink /to; stat -c '%a %u' /real; ls /real") == b"/real\n700 0\nf\n"


def test_links_cannot_lead_out_or_in_circles(steps: Steps, base: str) -> None:
    made = steps.run(base, "ln -s ../../../../out /up; ln -s /b /a; ln -s /a /b; echo > /file")
    step = steps.put(made, "/up/", TreeFiles.of((b"f", b"x")))
    assert steps.see(step, "cat /out/f") == b"x"
    with pytest.raises(BuildError):
        steps.put(made, "/a/c/", TreeFiles.of((b"f", b"x")))
    with pytest.raises(BuildError, match="/file"):
        steps.put(made, "/file/c/", TreeFiles.of((b"f", b"x")))


def test_copies_that_do_not_fit_what_is_there(engine: Engine, steps: Steps, base: str) -> None:
    made = steps.run(base, "mkdir /dir; echo > /file")
    with pytest.raises(BuildError, match="/dir is a folder"):
        steps.put(made, "/dir", TreeFiles.one(b"x"))
    with pytest.raises(BuildError, match="/file is no folder"):
        steps.put(made, "/file/", TreeFiles.of((b"f", b"x")))
    assert {snapshot.key for snapshot in engine.list()} == {base, made}


def test_names_of_any_bytes(steps: Steps, base: str) -> None:
    name = bytes(range(1, 256)).replace(b"/", b"")[:200]
    step = steps.put(base, "/o/", TreeFiles.of((name, b"1"), (b"\xff\xfe" * 60, b"2")))
    assert steps.see(step, "for f in /o/*; do printf '%s|' \"${f#/o/}\"; done") == (
        b"|".join(sorted((name, b"\xff\xfe" * 60))) + b"|"
    )


def test_a_destination_of_any_bytes(steps: Steps, base: str) -> None:
    place = b"/\xff \xc3\xa9%2f&?/".decode("utf-8", "surrogateescape")
    step = steps.put(base, place, TreeFiles.of((b"f", b"1")))
    step = steps.put(step, place, TreeFiles.of((b"g", b"2")))
    assert steps.see(step, r"cat /$(printf '\377')*/*") == b"12"


def test_links_and_folders_in_a_copy(steps: Steps, base: str) -> None:
    def make(root: bytes) -> Iterator[bytes]:
        yield folder(root + b"/d/", 0o711, 1, 2)
        yield link(root + b"/d/l", b"/else where")
        yield folder(root + b"/d/empty/")

    step = steps.put(base, "/t/", TreeFiles(make))
    look = "stat -c '%a %u:%g' /t/d; readlink /t/d/l; ls /t/d"
    assert steps.see(step, look) == b"711 1:2\n/else where\nempty\nl\n"


@pytest.mark.parametrize("before", [0, 100_000, 3_000_000])
def test_nothing_is_kept_of_a_copy_whose_source_changed(
    engine: Engine, steps: Steps, base: str, before: int
) -> None:
    def make(root: bytes) -> Iterator[bytes]:
        yield plain(root + b"/f", bytes(before))
        raise SourceError("f changed while it was read")

    with pytest.raises(SourceError):
        steps.put(base, "/t/", TreeFiles(make))
    assert [snapshot.key for snapshot in engine.list()] == [base]
    assert engine.sweep(_dead) == ()
