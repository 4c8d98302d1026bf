"""manifest.bash in a Debian container: the same answers as obuild gives on this machine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.libexec.bulk import compare, draw_cases, prepare
from tests.setup import client

_DEADLINE = 300


@pytest.mark.engine
def test_any_tree_and_any_question(engine_host: str, debian_image: str, tmp_path: Path) -> None:
    """All trees go in as one archive, one process is asked, the answers come out as one."""
    cases = draw_cases(150, sockets=False)
    made, answered = tmp_path / "made", tmp_path / "answered"
    made.mkdir()
    prepare(made, cases)
    api = client.connect(engine_host, _DEADLINE)
    command = ["env", "-i", "bash", "--norc", "-p", "/obuild-cases/driver.bash", "/obuild-cases"]
    container = api.create_container(debian_image, command, network_disabled=True)["Id"]
    try:
        api.put_archive(container, "/", _pack(made))
        api.start(container)
        assert api.wait(container, timeout=_DEADLINE)["StatusCode"] == 0, api.logs(container)
        chunks, _ = api.get_archive(container, "/obuild-cases")
        _unpack(b"".join(chunks), answered)
    finally:
        api.remove_container(container, force=True, v=True)
        api.close()
    compare(made, answered / "obuild-cases", cases)


def _pack(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape"
    ) as archive:
        archive.add(folder, "obuild-cases")
    return packed.getvalue()


def _unpack(data: bytes, folder: Path) -> None:
    """The answers only; the trees are known."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for member in archive:
            if member.name.endswith(("/out", "/err", "/status")) and member.name.count("/") == 2:
                content = archive.extractfile(member)
                assert content is not None
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())
