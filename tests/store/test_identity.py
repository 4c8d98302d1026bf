"""The machine's id."""

from __future__ import annotations

from pathlib import Path

import pytest

from obuild.store.identity import hashed, read_machine_id

_ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (_ID + "\n", _ID),
        (_ID, _ID),
        ("uninitialized\n", None),
        ("", None),
        (_ID.upper(), None),
        (_ID + "00", None),
    ],
)
def test_reading(content: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text(content)
    read = read_machine_id(str(tmp_path / "machine-id"))
    assert read == (found.encode() if found else None)


def test_a_machine_without_an_id(tmp_path: Path) -> None:
    assert read_machine_id(str(tmp_path / "none")) is None


def test_the_id_itself_is_not_shown() -> None:
    assert hashed(_ID.encode()) != hashed(_ID[::-1].encode())
    assert _ID not in hashed(_ID.encode())
    assert len(hashed(b"")) == 32
