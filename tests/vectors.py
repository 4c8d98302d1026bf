"""Reading the golden vectors: inputs with the results that the real OBuilder gave."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"


def load(file: str) -> dict[str, Any]:
    """The whole of one golden file, as ``sexp/sexp.json``."""
    found: dict[str, Any] = json.loads((GOLDEN / file).read_text())
    return found


def cases(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(file)["cases"]
    return found


def data(value: str | dict[str, str]) -> bytes:
    """A byte string: JSON text if it was valid UTF-8, else ``{"b64": …}``."""
    return value.encode() if isinstance(value, str) else base64.b64decode(value["b64"])


def plant(root: Path, entries: list[dict[str, Any]]) -> None:
    """Make the tree that ``entries`` describe below ``root``."""
    root.mkdir(exist_ok=True)
    for entry in entries:
        path = os.path.join(os.fsencode(root), base64.b64decode(entry["path_b64"]))
        match entry["type"]:
            case "dir":
                os.mkdir(path)
            case "file":
                with open(path, "wb") as stream:
                    stream.write(base64.b64decode(entry["content_b64"]))
            case "symlink":
                os.symlink(base64.b64decode(entry["target_b64"]), path)
            case "fifo":
                os.mkfifo(path)
        if entry.get("mode"):
            os.chmod(path, int(entry["mode"], 8))
