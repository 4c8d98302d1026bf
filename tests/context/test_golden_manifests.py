"""Manifests and refusals against what OBuilder gave for the same trees."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from obuild.context import BuildContext
from obuild.errors import SourceError
from obuild.source import decode, encode
from tests.context.trees import machine, make_golden_tree

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest" / "manifest.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


def text(value: Any) -> str:
    return decode(base64.b64decode(value["b64"])) if isinstance(value, dict) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_manifest_and_errors_are_obuilders(case: dict[str, Any], tmp_path: Path) -> None:
    make_golden_tree(tmp_path, case["tree"])
    context = BuildContext(str(tmp_path))
    excludes = tuple(text(name) for name in case["excludes"])
    assert case["results"]
    for result in case["results"]:
        source = text(result["src"])
        if "sexp" in result:
            assert machine(context.manifest(source, excludes)) == result["sexp"]
            continue
        with pytest.raises(SourceError) as caught:
            context.manifest(source, excludes)
        if "error" in result:
            assert encode(caught.value.message) == encode(text(result["error"]))
        else:
            assert caught.value.message.startswith("Cannot read ")
            assert caught.value.exit_code == 1
