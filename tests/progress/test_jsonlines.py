import base64
import io
import itertools
import json
import typing

from hypothesis import given
from hypothesis import strategies as st

from obuild import events as module
from obuild.events import Event, StepOutput, StepSaved, StepStarted
from obuild.progress.jsonlines import JsonForm
from obuild.progress.sink import Sink
from obuild.source import decode
from obuild.values import names
from tests.progress.builds import FAILED, KEY, every_event, failing_build, start


def records(events: list[Event], *, quiet: bool = False) -> list[dict[str, typing.Any]]:
    out = io.BytesIO()
    form = JsonForm(Sink(out), quiet=quiet)
    for event in events:
        form.take(event, 1.0)
        form.draw(1.0)
    form.finish(1.0)
    written = out.getvalue()
    assert written.isascii()
    return [json.loads(line) for line in written.decode().splitlines()]


def test_an_event_is_a_line_with_all_its_fields() -> None:
    (record,) = records([FAILED])
    assert record.pop("time") > 1_600_000_000
    assert record == {
        "event": "step-failed",
        "step": 3,
        "key": KEY,
        "seconds": 1.24,
        "message": "the command ended with status 2",
        "status": 2,
        "command": ["/bin/sh", "-c", "make 'big bell'"],
        "cancelled": False,
        "hint": "look at the bell",
        "excerpt": None,
    }


def test_every_kind_of_event_has_its_name() -> None:
    names = [record["event"] for record in records(every_event())]
    assert {"step-waiting", "pull-progress", "stage-started", "build-finished"} <= set(names)
    assert len(names) == len(every_event())


def test_the_package_documents_every_event_and_field() -> None:
    import obuild.progress as package

    assert package.__doc__
    for kind in typing.get_args(module.Event):
        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).strip("-")
        assert f"``{name}``" in package.__doc__
        for field in names(kind):
            assert f"``{field}``" in package.__doc__


def test_quiet() -> None:
    names = [record["event"] for record in records(every_event() + failing_build(), quiet=True)]
    assert names == ["warned", "step-failed", "step-failed"]


def test_texts_that_are_not_utf8() -> None:
    (record,) = records([StepStarted(1, (decode(b"b\xff"),), "run", decode(b"\xfe\0"), KEY)])
    assert (record["within"], record["title"]) == (["b\ufffd"], "\ufffd\0")
    (record,) = records([StepOutput(1, b"a\xffb\x1b[2J")])
    assert record["data"] == "a\ufffdb\x1b[2J"
    assert base64.b64decode(record["data_b64"]) == b"a\xffb\x1b[2J"


@given(st.text(), st.lists(st.integers(0, 40), max_size=6))
def test_a_chunk_ends_with_a_whole_character(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "replace")
    edges = [0, *sorted(cuts), max([len(data), *cuts])]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    found = records([start(1), *(StepOutput(1, c) for c in chunks), StepSaved(1, KEY, 1)])
    outputs = [record for record in found if record["event"] == "step-output"]
    assert "".join(record["data"] for record in outputs).encode() == data
    assert not any("data_b64" in record for record in outputs)


@given(st.lists(st.binary(max_size=8)))
def test_no_byte_is_lost(chunks: list[bytes]) -> None:
    found = b"".join(
        base64.b64decode(record["data_b64"]) if "data_b64" in record else record["data"].encode()
        for record in records([StepOutput(1, chunk) for chunk in chunks])
    )
    assert found == b"".join(chunks)
