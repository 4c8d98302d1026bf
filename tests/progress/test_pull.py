from obuild.events import PullProgress
from obuild.progress.pull import Pull


def pull(*news: tuple[str, str, int | None, int | None]) -> Pull:
    state = Pull()
    for part, status, current, total in news:
        state.take(PullProgress(1, part, status, current, total))
    return state


def test_before_sizes_are_known() -> None:
    assert pull().text == "pulling"
    head = pull(("12", "Pulling from library/debian", None, None))
    assert (head.text, head.fraction) == ("Pulling from library/debian", None)
    waiting = pull(("a", "Pulling fs layer", None, None), ("b", "Already exists", None, None))
    assert (waiting.text, waiting.fraction) == ("pulling, 1 of 2 parts ready", None)


def test_bytes_of_all_parts_are_added_up() -> None:
    state = pull(
        ("a", "Downloading", 500_000, 2_000_000),
        ("b", "Downloading", 1_000_000, 2_000_000),
        ("b", "Download complete", None, None),
    )
    assert state.text == "downloading 2.5 MB of 4.0 MB, 0 of 2 parts ready"
    assert state.fraction == 2.5 / 4


def test_unpacking_is_counted_once_all_is_fetched() -> None:
    news: list[tuple[str, str, int | None, int | None]] = [
        ("a", "Downloading", 1_000, 2_000),
        ("b", "Downloading", 1_000, 2_000),
        ("a", "Extracting", 100, 2_000),
    ]
    assert pull(*news).fraction == 3 / 4
    news += [("b", "Verifying Checksum", None, None), ("a", "Pull complete", None, None)]
    state = pull(*news)
    assert state.text == "unpacking 2.0 kB of 4.0 kB, 1 of 2 parts ready"
    assert state.fraction == 1 / 2


def test_a_status_is_made_harmless() -> None:
    assert pull(("", "\x1b[2Jpulling", None, None)).text == "pulling"
