import pytest

from obuild.progress.phrases import duration, size, summarise


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (-1, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3725, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (120_300_000, "120.3 MB"),
        (5_000_000_000_000, "5.0 TB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((3, 8, 0, 0), "11 steps: 3 cached, 8 built in 4.2 s"),
        ((3, 7, 1, 0), "11 steps: 3 cached, 7 built, 1 failed in 4.2 s"),
        ((11, 0, 0, 0), "11 steps: all cached in 4.2 s"),
        ((0, 1, 0, 0), "1 step: 1 built in 4.2 s"),
        ((0, 1, 0, 2), "3 steps: 1 built, 2 stopped in 4.2 s"),
        ((0, 0, 0, 0), ""),
    ],
)
def test_the_last_line(counts: tuple[int, int, int, int], words: str) -> None:
    assert summarise(*counts, 4.2) == words
