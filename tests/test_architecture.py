"""Layers, cycles, sizes: taste that can be checked (``tests/architecture.py`` says how)."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

from tests import architecture

_ROOT = Path(__file__).resolve().parent.parent

_SOUND = {
    "obuild/__init__.py": '"""Doc."""\n__version__ = "1"\n',
    "obuild/errors.py": '"""Doc."""\nfrom obuild.source import Text\n__all__ = ["Text"]\n',
    "obuild/source.py": '"""Doc."""\n__all__ = ["Text"]\nText = str\n',
    "obuild/ir/__init__.py": '"""Doc."""\nfrom obuild.ir.ops import Op\n__all__ = ["Op"]\n',
    "obuild/ir/ops.py": '"""Doc."""\nfrom obuild.errors import Text\n__all__ = ["Op"]\nOp = Text\n',
    "obuild/engine/__init__.py": '"""Doc."""\nfrom obuild.ir import Op\n__all__ = ["Op"]\n',
    "obuild/engine/docker/__init__.py": (
        '"""Doc."""\nimport docker\nfrom obuild.engine import Op\n__all__: list[str] = []\n'
    ),
    "obuild/engine/docker/calls.py": '"""Doc."""\nfrom . import images\n__all__ = ["images"]\n',
    "obuild/engine/docker/images.py": '"""Doc."""\nfrom obuild.engine import Op\n__all__ = []\n',
    "obuild/store/__init__.py": '"""Doc."""\nimport sqlite3\n__all__ = []\n',
    "obuild/cli/__init__.py": (
        '"""Doc."""\nimport os\nfrom obuild.engine import docker\n__all__ = []\nX = os.environ\n'
    ),
    "obuild/__main__.py": '"""Doc."""\nimport obuild.cli\n',
    "grammar/x.lark": "start: X\n",
    "libexec/x.bash": "true\n",
}

_UNSOUND = {
    "upwards": ("obuild/ir/ops.py", "import obuild.cli", "layer 2 imports obuild.cli of layer 7"),
    "upwards, of a package": ("obuild/ir/ops.py", "from obuild import cli", "imports obuild.cli"),
    "upwards, relative": ("obuild/ir/ops.py", "from .. import cli", "imports obuild.cli of"),
    "upwards, in a function": (
        "obuild/ir/ops.py",
        "def f() -> None:\n    from obuild.store import x",
        "obuild.ir.ops:3: layer 2 imports obuild.store of layer 5",
    ),
    "upwards, for types": (
        "obuild/ir/ops.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from obuild.store import x",
        "layer 2 imports obuild.store of layer 5",
    ),
    "sideways": (
        "obuild/store/__init__.py",
        "from obuild.engine import docker",
        "obuild.store:2: layer 5 imports obuild.engine.docker of layer 5",
    ),
    "sideways to a Protocol": (
        "obuild/store/__init__.py",
        "import obuild.engine",
        "layer 5 imports obuild.engine of layer 5",
    ),
    "Protocol to its engine": (
        "obuild/engine/__init__.py",
        "from obuild.engine.docker import calls",
        "layer 5 imports obuild.engine.docker",
    ),
    "in no layer": ("obuild/utils.py", "", "utils is in no layer"),
    "cycle": (
        "obuild/engine/docker/images.py",
        "def f() -> None:\n    from obuild.engine.docker import calls",
        "cycle: obuild.engine.docker.calls -> obuild.engine.docker.images -> "
        "obuild.engine.docker.calls",
    ),
    "cycle through a package": (
        "obuild/ir/ops.py",
        "from obuild.ir import Op as Other",
        "cycle: obuild.ir -> obuild.ir.ops -> obuild.ir",
    ),
    "too long": ("obuild/source.py", "\n" * 350, "at most 350"),
    "environment": ("obuild/source.py", "import os\nX = os.environ", ".environ reads the"),
    "environment, by name": ("obuild/source.py", "from os import getenv", "getenv reads the"),
    "home folder": ("obuild/source.py", "import os\nX = os.path.expanduser('~')", "expanduser"),
    "engine library": ("obuild/store/__init__.py", "import docker.errors", "docker is for"),
    "terminal library": ("obuild/engine/__init__.py", "from rich import box", "rich is for"),
    "hidden import": (
        "obuild/source.py",
        "import importlib\nX = importlib.import_module('obuild.cli')",
        "no reader of the code can see",
    ),
    "the package itself": ("obuild/__init__.py", "import obuild.source", "obuild: imports"),
}


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_code_is_sound() -> None:
    assert architecture.violations(_ROOT) == []


def test_sound_tree_passes(tmp_path: Path) -> None:
    _write(tmp_path, _SOUND)
    assert architecture.violations(tmp_path) == []


@pytest.mark.parametrize("case", _UNSOUND)
def test_finds_violation(tmp_path: Path, case: str) -> None:
    name, code, expected = _UNSOUND[case]
    text = _SOUND.get(name, '"""Doc."""\n__all__ = []\n')
    head, _, rest = text.partition("\n")
    _write(tmp_path, {**_SOUND, name: f"{head}\n{code}\n{rest}"})
    found = architecture.violations(tmp_path)
    assert any(expected in violation for violation in found), found


@pytest.mark.parametrize(
    ("without", "expected"),
    [('"""Doc."""', "obuild.source: no docstring"), ("__all__", "obuild.source: no __all__")],
)
def test_finds_what_is_missing_in_a_module(tmp_path: Path, without: str, expected: str) -> None:
    text = _SOUND["obuild/source.py"].replace(without, "x")
    _write(tmp_path, {**_SOUND, "obuild/source.py": text})
    assert architecture.violations(tmp_path) == [expected]


@pytest.mark.parametrize("missing", ["grammar/x.lark", "libexec/x.bash"])
def test_finds_missing_resources(tmp_path: Path, missing: str) -> None:
    _write(tmp_path, {name: text for name, text in _SOUND.items() if name != missing})
    assert any("no files" in violation for violation in architecture.violations(tmp_path))


def test_finds_missing_package(tmp_path: Path) -> None:
    assert any("no package obuild" in found for found in architecture.violations(tmp_path))


def test_modules_are_short() -> None:
    assert statistics.median(m.lines for m in architecture.read(_ROOT).values()) <= 120


def test_resources_in_use_are_there() -> None:
    """Every ``resources.read("grammar", NAME)`` in the code names a file."""
    call = re.compile(r'read\(\s*"(grammar|libexec)",\s*"([^"]+)"')
    used = {
        match.groups()
        for module in architecture.read(_ROOT).values()
        for match in call.finditer(module.path.read_text("utf-8"))
    }
    assert used, "the pattern of this test finds no use at all"
    assert [name for name in used if not (_ROOT / name[0] / name[1]).is_file()] == []
