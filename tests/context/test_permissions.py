"""What a user without rights may not read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.context.trees import make_tree


def as_nobody(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as a user without rights, also where the tests run as root.

    Everything is imported first: the code may lie where that user cannot read.
    """
    start = """
        import os, sys
        from obuild.context import BuildContext, manifests
        from obuild.errors import ContextError, SourceError
        import concurrent.futures.thread, hashlib, encodings.idna
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        def refused(root, source):
            try:
                return BuildContext(root).manifest(source, ())
            except (ContextError, SourceError) as error:
                return f"{type(error).__name__}: {error.message} / {error.hint}"
    """
    whole = textwrap.dedent(start) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", whole, *args], text=True, capture_output=True, check=True
    )


@pytest.fixture
def open_tree() -> Iterator[Path]:
    """A context in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        make_tree(
            Path(folder),
            [(b"shut", "dir", b""), (b"shut/in", "file", b"x"), (b"f", "file", b"y")],
        )
        yield Path(folder)
        (Path(folder) / "shut").chmod(0o755)


def test_what_may_not_be_read_is_named(open_tree: Path) -> None:
    (open_tree / "f").chmod(0)
    (open_tree / "shut").chmod(0)
    code = "print(refused(sys.argv[1], 'f')); print(refused(sys.argv[1], 'shut'))"
    file, folder = as_nobody(code, str(open_tree)).stdout.splitlines()
    assert file.startswith('SourceError: Cannot read "f": Permission denied / Make it readable')
    assert "(exclude f)" in file
    assert folder.startswith('SourceError: Cannot read "shut": Permission denied')


def test_a_folder_that_may_only_be_entered(open_tree: Path) -> None:
    """As in OBuilder, a file can be copied out of a folder that cannot be listed."""
    (open_tree / "shut").chmod(0o711)
    code = "print(refused(sys.argv[1], 'shut/in').digest); print(refused(sys.argv[1], 'shut'))"
    file, folder = as_nobody(code, str(open_tree)).stdout.splitlines()
    assert file == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert folder.startswith('SourceError: Cannot read "shut": Permission denied')


@pytest.mark.parametrize("mode", [0o000, 0o711, 0o744])
def test_a_context_that_may_not_be_read(mode: int, open_tree: Path) -> None:
    (open_tree / "shut").chmod(mode)
    out = as_nobody("print(refused(sys.argv[1], 'in'))", str(open_tree / "shut")).stdout
    assert out.startswith("ContextError: Cannot read the build context ")
    assert "Permission denied" in out
