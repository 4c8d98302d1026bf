"""What it means that the system refuses something in the store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from obuild.errors import EngineError

__all__ = ["trouble", "troubles"]


@contextmanager
def troubles() -> Iterator[None]:
    """An ``OSError`` becomes an ``EngineError``."""
    try:
        yield
    except OSError as error:
        raise trouble(error) from error


def trouble(error: OSError) -> EngineError:
    words = error.strerror or str(error)
    if error.filename is not None:
        words = f"{os.fsdecode(error.filename)}: {words}"
    hint = None
    if error.errno == errno.ENOSPC:
        hint = "the file system of the store is full: `obuild prune` or `obuild df` help"
    elif error.errno == errno.EDQUOT:
        hint = "your quota on the file system of the store is used up"
    return EngineError(words, hint=hint)
