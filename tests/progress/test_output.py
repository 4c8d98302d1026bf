import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obuild.progress.output import LONGEST, LineReader, clean, clean_lines


def read(*chunks: bytes) -> list[str]:
    reader = LineReader()
    lines = [line for chunk in chunks for line in reader.feed(chunk)]
    return [clean(line) for line in lines + reader.end()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [/foo] text", "plain [/foo] text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[H\x1b[10;20Hat", "at"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPsixel\x1b\\x\x1b(By\x1bcz\x1b", "xyz"),
        ("\x9b31mred\x9d0;t\x9cx", "redx"),
        ("10%\r50%\r100%", "100%"),
        ("10%\r50%\r", "50%"),
        ("windows\r\r", "windows"),
        ("x\ry\r\x1b[K", "y"),
        ("abc\b\bd\b", "a"),
        ("\b\bx", "x"),
        ("a\tb", "a       b"),
        ("nul\0bell\a", "nulbell"),
        ("a\vb\fc", "a b c"),
        ("\u202eright to left\u200b", "right to left"),
        ("a\u2028b\u00a0c", "a b c"),
        ("✔️ ü 日本", "✔ ü 日本"),
        ("\ue000\ud800", "\ufffd\ufffd"),
        ("\x1b[3", ""),
    ],
)
def test_a_line_is_what_one_would_have_seen_last(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_lines_of_a_message() -> None:
    assert clean_lines("a\x1b[1m\n b\r\n\n") == ["a", " b"]


def test_chunks_may_end_anywhere() -> None:
    data = "grün \x1b[32mok\x1b[0m\n日本\r\nend".encode()
    assert read(*(data[i : i + 1] for i in range(len(data)))) == read(data)
    assert read(data) == ["grün ok", "日本", "end"]


def test_an_unfinished_line_can_be_seen_and_ended() -> None:
    reader = LineReader()
    assert reader.feed(b"one\ntwo\r2") == ["one"]
    assert reader.unfinished == "two\r2"
    assert reader.end_line() == ["two\r2"]
    assert reader.end_line() == []
    assert reader.feed(b"three\n") == ["three"]


def test_a_character_that_was_cut_off_shows() -> None:
    assert read(b"bell\xe2\x9c") == ["bell\ufffd"]


def test_a_long_line_is_cut_and_nothing_of_it_lost() -> None:
    reader = LineReader()
    found = []
    for _ in range(160):
        found += reader.feed(b"x" * 65536)
        assert len(reader.unfinished) <= LONGEST
    found += reader.end()
    assert sum(map(len, found)) == 160 * 65536
    assert max(map(len, found)) == LONGEST
    assert read(b"y" * (2 * LONGEST + 1) + b"\n") == ["y" * LONGEST] * 2 + ["y"]


def test_a_long_progress_bar_keeps_its_last_state() -> None:
    reader = LineReader()
    for i in range(100_000):
        assert reader.feed(f"\r{i} done".encode()) == []
    assert clean(reader.unfinished) == "99999 done"


@pytest.mark.parametrize("hostile", [b"\x1b[", b"\b", b"x\b", b"\x1b]", b"\r", b"\x9b", b"\x1b"])
def test_no_line_takes_long(hostile: bytes) -> None:
    began = time.monotonic()
    read(*[hostile * 2000] * 50)
    assert time.monotonic() - began < 5


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_become_printable_lines(chunks: list[bytes]) -> None:
    for line in read(*chunks):
        assert line.isprintable()


@given(st.text())
def test_any_text_becomes_printable_and_stays_so(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(clean(text)) == clean(text)
