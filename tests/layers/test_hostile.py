"""Archives that attack: each is refused, or does its work inside; a tree beside the root, and
the root's parent, never change."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obuild.layers import ArchiveError, Limits, Links, Whiteouts
from tests.layers.trees import archive, canary, look, member, unpack

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


class Site:
    def __init__(self, folder: Path):
        self.outside = canary(folder)
        self.root = folder / "root"
        self.root.mkdir()
        self._folder = folder
        self._before = self._seen()

    def _seen(self) -> Any:
        return look(self.outside), sorted(os.listdir(self._folder))

    def check(self) -> None:
        assert self._seen() == self._before

    def refused(self, data: bytes, words: str, **how: Any) -> None:
        with pytest.raises(ArchiveError, match=words):
            unpack(data, self.root, **how)
        self.check()

    def taken(self, data: bytes, **how: Any) -> None:
        unpack(data, self.root, **how)
        self.check()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.check()


@pytest.mark.parametrize(
    "name", ["../outside/file", "a/../../outside/file", "..", "/../x", "./../x"]
)
def test_names_that_lead_above_the_root(site: Site, name: str) -> None:
    site.refused(archive(member(name, data=b"evil")), "outside of its tree")
    site.refused(archive(member(name, DIR)), "outside of its tree")


def test_absolute_names_land_inside(site: Site) -> None:
    site.taken(archive(member(f"{site.outside}/file", data=b"evil")))
    assert (site.root / str(site.outside)[1:] / "file").read_bytes() == b"evil"


@pytest.mark.parametrize("target", ["../outside", "{}", "/../../../../../../../{}"])
def test_a_link_and_a_write_through_it(site: Site, target: str) -> None:
    target = target.format(site.outside)
    data = archive(member("l", LINK, linkname=target), member("l/file", data=b"evil"))
    site.refused(data, "through the link l")
    (site.root / "l").unlink()
    site.taken(data, links=Links.INSIDE)


def test_links_that_are_followed_stay_inside(site: Site) -> None:
    data = archive(
        member("usr/lib", DIR),
        member("lib", LINK, linkname="/../usr/./lib"),
        member("deep/er", LINK, linkname="../../../lib"),
        member("deep/er/file", data=b"in"),
    )
    site.taken(data, links=Links.INSIDE)
    assert (site.root / "usr/lib/file").read_bytes() == b"in"


def test_links_in_a_circle(site: Site) -> None:
    data = archive(
        member("a", LINK, linkname="b"), member("b", LINK, linkname="a"), member("a/x", data=b"x")
    )
    site.refused(data, "cannot be unpacked", links=Links.INSIDE)


def test_a_file_over_a_link_replaces_it(site: Site) -> None:
    target = str(site.outside / "file")
    site.taken(archive(member("f", LINK, linkname=target), member("f", data=b"evil", mode=0o777)))
    assert (site.root / "f").read_bytes() == b"evil"


def test_a_directory_over_a_link_replaces_it(site: Site) -> None:
    data = archive(
        member("d", LINK, linkname=str(site.outside)),
        member("d", DIR, mode=0o700, uid=7),
        member("d/file", data=b"evil"),
    )
    site.taken(data)
    assert not (site.root / "d").is_symlink()
    site.refused(data, "already", replace=False)


def test_a_directory_replaced_by_a_link_in_use(site: Site) -> None:
    data = archive(
        member("d", DIR, mode=0o711),
        member("d/sub", DIR),
        member("d/sub/x", data=b"x"),
        member("d", LINK, linkname=str(site.outside)),
        member("d/file", data=b"evil"),
    )
    site.refused(data, "through the link d")


def test_a_link_in_place_of_a_directory_gets_no_metadata(site: Site) -> None:
    data = archive(
        member("d", DIR, mode=0o777, uid=5), member("d", LINK, linkname=str(site.outside), uid=5)
    )
    site.taken(data)


@pytest.mark.parametrize("target", ["../outside/file", "/../outside/file", "a/../../outside/file"])
def test_hard_links_to_outside(site: Site, target: str) -> None:
    site.refused(archive(member("h", HARD, linkname=target)), "outside of its tree")


def test_a_hard_link_of_an_absolute_name_means_one_inside(site: Site) -> None:
    data = archive(member("h", HARD, linkname=str(site.outside / "file")))
    site.refused(data, "nothing that the archive has")


def test_a_hard_link_through_a_link(site: Site) -> None:
    data = archive(
        member("l", LINK, linkname=str(site.outside)), member("h", HARD, linkname="l/file")
    )
    site.refused(data, "through the link")
    site.refused(data, "nothing that the archive has", links=Links.INSIDE)


def test_a_hard_link_of_a_link_is_not_written_through(site: Site) -> None:
    data = archive(
        member("l", LINK, linkname=str(site.outside / "file")),
        member("h", HARD, linkname="l"),
        member("h", data=b"evil"),
    )
    site.taken(data)
    assert (site.root / "h").read_bytes() == b"evil"


def test_hard_links_of_what_none_can_be_of(site: Site) -> None:
    site.refused(archive(member("d", DIR), member("h", HARD, linkname="d")), "a directory")
    site.refused(archive(member("h", data=b""), member("h", HARD, linkname="h")), "itself")
    site.refused(archive(member("x", HARD, linkname=".")), "the root")
    marks = archive(member(".wh.m"), member("h", HARD, linkname="m"))
    site.refused(marks, "a mark of overlayfs")


@pytest.mark.parametrize("mode", [Whiteouts.OVERLAY, Whiteouts.APPLY])
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_marks_that_would_remove_the_root_or_its_parent(
    site: Site, mode: Whiteouts, name: str
) -> None:
    site.refused(archive(member("d", DIR), member(name)), "marks no file", whiteouts=mode)


def test_a_mark_through_a_link(site: Site) -> None:
    data = archive(member("l", LINK, linkname=str(site.outside)), member("l/.wh.file"))
    for mode in (Whiteouts.APPLY, Whiteouts.OVERLAY):
        site.refused(data, "through the link", whiteouts=mode)
    opaque = archive(member("l", LINK, linkname=str(site.outside)), member("l/.wh..wh..opq"))
    site.refused(opaque, "through the link", whiteouts=Whiteouts.APPLY)


def test_applying_never_follows_links_that_it_removes(site: Site) -> None:
    (site.root / "d").mkdir()
    (site.root / "d" / "l").symlink_to(site.outside)
    (site.root / "l").symlink_to(site.outside)
    site.taken(archive(member(".wh.d"), member(".wh.l")), whiteouts=Whiteouts.APPLY)
    assert os.listdir(site.root) == []


def test_attributes_of_overlayfs_from_elsewhere(site: Site) -> None:
    records = {
        "SCHILY.xattr.trusted.overlay.redirect": "/outside",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    done = unpack(archive(member("d", DIR, pax_headers=records)), site.root)
    assert os.listxattr(site.root / "d") == []
    assert len(done.skipped) == 2
    assert all("overlayfs's own" in line for line in done.skipped)


def test_the_device_of_marks(site: Site) -> None:
    data = archive(member("c", tarfile.CHRTYPE, devmajor=0, devminor=0))
    site.refused(data, "device 0:0", whiteouts=Whiteouts.LITERAL)
    (site.root / "c").write_bytes(b"")
    site.taken(data, whiteouts=Whiteouts.APPLY)
    assert not (site.root / "c").exists()


def test_names_with_marks_in_a_plain_tree(site: Site) -> None:
    data = archive(member("d/.wh.x"))
    site.refused(data, "no image can hold a file called d/.wh.x", whiteouts=Whiteouts.REFUSED)
    site.taken(data, whiteouts=Whiteouts.LITERAL)
    assert (site.root / "d/.wh.x").exists()


def test_bombs(site: Site) -> None:
    many = archive(*(member(f"f{n}") for n in range(11)))
    site.refused(many, "more than 10 members", limits=Limits(members=10))
    deep = archive(member("/".join("d" * 60) + "/f"))
    site.refused(deep, "one below the other", limits=Limits(depth=50))
    site.refused(archive(member("n" * 5000)), "a name has 5000 bytes")
    site.refused(archive(member("n" * 300)), "File name too long")
    site.refused(archive(member("f", data=bytes(2000))), "more than 1000", limits=Limits(size=1000))
    note = {"comment": "x" * (1 << 21)}
    site.refused(archive(member("f", pax_headers=note)), "extension has")
    large = member("f")[0]
    large.size = 1 << 62
    site.refused(large.tobuf(tarfile.GNU_FORMAT), "holds more than")
    zeros = gzip.compress(archive() + bytes(1 << 27), 1)
    site.refused(zeros, "follows the end")


def test_a_sparse_bomb(site: Site) -> None:
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "f",
        "GNU.sparse.realsize": str(1 << 62),
    }
    data = archive(member("x", data=b"0\n".ljust(512, b"\0"), pax_headers=records))
    site.refused(data, "holds more than")


def test_a_tree_deeper_than_descriptors_stay_open(site: Site) -> None:
    names = ["/".join(["d"] * depth) for depth in range(1, 300)]
    data = archive(*(member(name, DIR, mtime=7) for name in names), member("d/f", data=b"x"))
    before = len(os.listdir("/proc/self/fd"))
    site.taken(data)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (site.root / names[-1]).stat().st_mtime == 7


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:700], "ends in the middle"),
        (lambda data: data[:1024], "ends in the middle"),
        (lambda data: data[:100], "ends in the middle|no tar"),
        (lambda _: b"", "no tar archive"),
        (lambda _: b"hello" * 500, "no tar archive"),
        (lambda data: data + b"more", "follows the end"),
        (lambda data: data + data, "follows the end"),
        (lambda data: data[:100] + b"zzzzzzz\0" + data[108:], "no tar archive"),
        (lambda data: data[:1024] + b"garbage!" * 64 + data[1536:], "checksum"),
    ],
)
def test_cut_and_damaged_archives(site: Site, spoil: Any, words: str) -> None:
    site.refused(spoil(archive(member("f", data=b"x"))), words)


def test_numbers_that_are_none(site: Site) -> None:
    for records in ({"uid": "-5"}, {"size": "9" * 25}, {"mtime": "yesterday"}, {"uid": "12 3"}):
        site.refused(archive(member("f", pax_headers=records)), "in a header of the archive")
    site.refused(archive(member("f", pax_headers={"uid": str(2**33)})), "ids go from 0")
    site.refused(archive(member("f", pax_headers={"mtime": "9" * 19})), "no file can have")
    site.refused(archive(member("f", pax_headers={"path": "a\0b"})), "NUL")
    for record in (b"5 a=b\n", b"9999 a=b\n", b"x", b"0 a=b\n", b"6 a=bX"):
        info = member("x", b"x", record)
        site.refused(archive(info, member("f")), "records of a pax header|NUL")


def test_kinds_that_are_not_known(site: Site) -> None:
    site.refused(archive(member("f", b"M")), "kind b'M'")


def test_other_things_for_the_root(site: Site) -> None:
    site.refused(archive(member("./", LINK, linkname="/")), "for its root")


def test_what_the_source_raises_passes(site: Site) -> None:
    class Broken(OSError):
        pass

    def pieces() -> Iterator[bytes]:
        yield archive(member("f", data=b"x"))[:512]
        raise Broken("gone")

    import obuild.layers as layers

    fd = os.open(site.root, os.O_RDONLY)
    try:
        with pytest.raises(Broken):
            layers.extract(pieces(), fd, layers.Extraction())
    finally:
        os.close(fd)


def test_set_uid_bits_are_the_owners_alone(site: Site) -> None:
    data = archive(member("f", mode=0o6755, uid=1, gid=2))
    unpack(data, site.root)
    assert (site.root / "f").stat().st_mode & 0o7777 == 0o6755
    unpack(data, site.root, owners=False)
    status = (site.root / "f").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o755, os.geteuid())
