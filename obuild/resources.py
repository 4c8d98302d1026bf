"""Finding the files that come with obuild: grammars, and programs that run elsewhere.

In a checkout they stand beside the package, in a wheel inside it.
"""

from __future__ import annotations

import os

__all__ = ["read"]

_PACKAGE = os.path.dirname(os.path.realpath(__file__))


def read(folder: str, name: str) -> bytes:
    """The content of ``folder``/``name``, where folder is ``grammar`` or ``libexec``."""
    for root in (_PACKAGE, os.path.dirname(_PACKAGE)):
        path = os.path.join(root, folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    raise FileNotFoundError(f"{folder}/{name} is missing: this installation is damaged")
