"""What happens in the warden's namespaces: each task in a process of its own.

A task is a function of its arguments and ``Streams``; what it returns is the answer. An error
that a user can cause is told to the other side and raised there again. The modules are loaded
by the warden before it forks, so a task is a fork and its work, and needs no file of obuild's
once it has changed its root.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from obuild.engine.native.inside import (
    caching,
    joining,
    putting,
    reading,
    removing,
    running,
    unpacking,
)
from obuild.engine.native.inside.streams import Streams
from obuild.engine.native.trouble import trouble
from obuild.errors import EngineError, ObuildError

__all__ = ["perform"]

_TASKS: Mapping[str, Callable[[dict[str, Any], Streams], dict[str, Any]]] = {
    "run": running.run,
    "put": putting.put,
    "unpack": unpacking.unpack,
    "manifest": reading.manifest,
    "files": reading.files,
    "join": joining.join,
    "own": caching.own,
    "take-out": caching.take_out,
    "remove": removing.remove,
}


def perform(task: str, arguments: int, answer: int, given: int, shown: int) -> None:
    """Do it and answer; the descriptors are those of the request."""
    streams = Streams(given, shown, answer)
    try:
        with os.fdopen(arguments, "rb") as written:
            wanted = json.load(written)
        streams.tell(_TASKS[task](wanted, streams))
    except ObuildError as error:
        streams.fail(error)
    except OSError as error:
        streams.fail(trouble(error))
    except Exception as error:  # noqa: BLE001 - a fault of obuild's: told where it is seen
        said = f"{type(error).__name__}: {error}"
        streams.fail(
            EngineError(f"obuild failed in its task {task}: {said}", hint="please report it")
        )
    os._exit(0)
