from __future__ import annotations

from pathlib import Path

import pytest

from tests.setup import debian
from tests.setup.debian import Source
from tests.setup.shell import SetupError

_ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb http://a.example/debian bookworm main contrib # a comment
deb-src http://a.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://b.example/x stable main
deb malformed
"""
_DEB822 = """\
Types: deb deb-src
URIs: http://c.example/debian
 http://d.example/debian
# a comment between fields
Suites: bookworm bookworm-updates
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main
"""


def test_reads_both_forms_of_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(_ONE_LINE)
    (tmp_path / "sources.list.d" / "more.sources").write_text(_DEB822)
    (tmp_path / "sources.list.d" / "more.sources.disabled").write_text(_DEB822)
    assert debian.sources(tmp_path) == [
        Source("http://a.example/debian", "bookworm", ("main", "contrib")),
        Source("http://b.example/x", "stable", ("main",)),
        Source("http://c.example/debian", "bookworm", ("main",)),
        Source("http://c.example/debian", "bookworm-updates", ("main",)),
        Source("http://d.example/debian", "bookworm", ("main",)),
        Source("http://d.example/debian", "bookworm-updates", ("main",)),
    ]


def test_mirror_is_the_archive_of_this_release(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb http://s.example/debian-security bookworm-security main\n"
        "deb http://other.example/thing stable main\n"
        "deb http://right.example/debian bookworm main\n"
    )
    assert debian.mirror(tmp_path, "bookworm") == "http://right.example/debian"


def test_mirror_may_stand_in_a_list(tmp_path: Path) -> None:
    addresses = tmp_path / "mirrors"
    addresses.write_text("# the nearest\nhttp://near.example/debian priority:1\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(f"deb mirror+file:{addresses} trixie main\n")
    assert debian.mirror(tmp_path, "trixie") == "http://near.example/debian"


def test_no_mirror_is_said(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    with pytest.raises(SetupError, match="no Debian archive"):
        debian.mirror(tmp_path, "bookworm")
