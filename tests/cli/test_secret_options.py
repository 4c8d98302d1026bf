"""``--secret``: OBuilder's spelling and docker's, and what bad input gets. No engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from obuild.cli.arguments import secrets
from obuild.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_bytes(b"of a file\n\xff")
    (tmp_path / "other").write_bytes(b"of another")
    (tmp_path / "a,b").write_bytes(b"comma")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_VALUE", "of a variable")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("one:file", b"of a file\n\xff"),
        ("one:./a,b", b"comma"),
        ("id=one,src=file", b"of a file\n\xff"),
        ("source=other,id=one,type=file", b"of another"),
        ('id=one,"src=a,b"', b"comma"),
        ("id=one,env=SECRET_VALUE", b"of a variable"),
        ("id=one,type=env,src=SECRET_VALUE", b"of a variable"),
    ],
)
def test_a_secret_in_every_spelling(here: Path, given: str, value: bytes) -> None:
    assert secrets([given]) == {"one": value}


def test_only_an_id_names_a_variable_or_else_a_file(here: Path) -> None:
    """As ``docker build`` takes it."""
    assert secrets(["id=SECRET_VALUE"]) == {"SECRET_VALUE": b"of a variable"}
    assert secrets(["id=file"]) == {"file": b"of a file\n\xff"}


def test_the_first_of_one_id_counts(here: Path) -> None:
    """OBuilder looks the list through from its beginning."""
    assert secrets(["one:other", "id=one,src=file"]) == {"one": b"of another"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "not a secret"),
        ("one", "not a secret"),
        (":file", "not a secret"),
        ("one:", "not a secret"),
        ("src=file", "not a secret"),
        ("id=one,type=token,src=file", "not a secret"),
        ("id=one,scr=file", "no field 'scr'"),
        ("id=one,src=", "src has no value"),
        ("id=one,src", "src has no value"),
        ("id=one,id=two,src=file", "id is given twice"),
        ("id=one,src=file,env=X", "either src or env"),
        ("one:missing", "No such file"),
        ("one:folder", "Is a directory"),
        ("id=one", "No such file"),
        ("id=one,env=NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE of a secret is not set"),
    ],
)
def test_what_is_wrong_is_said(here: Path, given: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        secrets([given])
    assert caught.value.hint


def test_a_misspelt_field_is_recognized(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        secrets(["id=one,scr=file"])
    assert caught.value.hint == "did you mean src?"
