"""What the native engine needs of the machine: an OCI runtime, and tools for user namespaces."""

from __future__ import annotations

import shutil

from tests.setup import debian
from tests.setup.shell import SetupError

__all__ = ["ensure"]

_PROGRAMS = {"crun": "crun", "runc": "runc", "newuidmap": "uidmap", "busybox": "busybox-static"}


def ensure() -> None:
    """Install what is missing. Raises ``SetupError`` if that cannot be done."""
    missing = [package for program, package in _PROGRAMS.items() if not shutil.which(program)]
    if missing:
        debian.install(*missing)
    still = [program for program in _PROGRAMS if not shutil.which(program)]
    if still:
        raise SetupError(f"the native engine cannot be tested without {', '.join(still)}")
