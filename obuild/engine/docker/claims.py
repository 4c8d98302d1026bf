"""Whose are the objects of a prefix? A volume with the prefix says it on its labels.

Volumes may bear labels: no image is made of them. A volume that OBuilder made has none; it
holds only what can be made again, so it is made anew.
"""

from __future__ import annotations

from obuild.engine.docker.connection import DaemonError
from obuild.engine.docker.daemon import Daemon
from obuild.errors import EngineError, StoreError

__all__ = ["claim", "mark"]

_STORE = "obuild.store"
_MACHINE = "obuild.machine"
_TRIES = 3


def claim(daemon: Daemon, store_id: str | None, machine_id: str) -> str:
    """See the engine's protocol."""
    name = daemon.names.libexec
    labels = daemon.volume_labels(name)
    if labels is not None and _STORE not in labels:
        _remove_unmarked(daemon, name)
        labels = None
    for _ in range(_TRIES):
        if labels is not None:
            break
        wanted = mark(store_id or _new_id(), machine_id)
        daemon.create_volume(name, wanted, note="marks the objects of this store")
        # Somebody may have been faster, or has removed it: a prune takes unused volumes.
        labels = daemon.volume_labels(name, note="whose is it?")
    if labels is None:
        raise EngineError(
            f"the volume {name} is gone whenever it was made",
            hint="see what prunes the volumes of this Docker daemon, and run the build again",
        )
    found, machine = labels.get(_STORE, ""), labels.get(_MACHINE, "")
    if machine != machine_id:
        raise _foreign(daemon, "another machine")
    if store_id is not None and found != store_id:
        raise _foreign(daemon, "another store")
    return found


def mark(store_id: str, machine_id: str) -> dict[str, str]:
    """The labels that say whose the volume is."""
    return {_STORE: store_id, _MACHINE: machine_id}


def _new_id() -> str:
    from secrets import token_hex

    return token_hex(16)


def _remove_unmarked(daemon: Daemon, name: str) -> None:
    try:
        daemon.remove_volume(name)
    except DaemonError as error:
        raise StoreError(
            f"the volume {name} is OBuilder's and in use: {error.words}",
            hint="wait until OBuilder is done with this store",
        ) from error


def _foreign(daemon: Daemon, whose: str) -> StoreError:
    names = daemon.names
    return StoreError(
        f"the objects {names.prefix}-… of this Docker daemon belong to {whose}, whose store has"
        " the same path",
        hint="choose another --store; or, if that store is gone for good:"
        f" docker volume rm {names.libexec}",
    )
