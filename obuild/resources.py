"""Finding the files that come with obuild: grammars, and programs that run elsewhere.

In a checkout they stand beside the package, in a wheel inside it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["read"]

_PACKAGE = Path(__file__).resolve().parent


def read(folder: str, name: str) -> bytes:
    """The content of ``folder``/``name``, where folder is ``grammar`` or ``libexec``."""
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root / folder / name
        if path.is_file():
            return path.read_bytes()
    raise FileNotFoundError(f"{folder}/{name} is missing: this installation is damaged")
