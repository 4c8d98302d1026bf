"""What has to be put right before an engine is used: whose objects, leftovers, the index."""

from __future__ import annotations

from threading import Event

from obuild.engine import Engine
from obuild.events import Emit, Warned
from obuild.store import Store

__all__ = ["open_engine"]


def open_engine(store: Store, engine: Engine, emit: Emit, visit: str | None = None) -> Engine:
    """Claim the engine's objects for the store, remove leftovers, agree on what is there.

    ``visit`` is the lock that the caller holds while it uses the engine, if it does.
    Raises ``StoreError`` if the objects are another store's, or if a container runs that
    this store cannot account for; then the engine is closed again.
    """
    try:
        store_id = engine.claim(store.store_id, store.machine_id())
        if store.store_id != store_id:
            store.set_store_id(store_id)
        alone = all(name == visit for name in store.running() if name.startswith("visit-"))
        for removed in engine.sweep(store.alive):
            # Beside another build it may be what that one was just about to remove.
            if alone:
                emit(Warned(f"removed what a build that died had left behind: {removed}"))
        _reconcile(store, engine)
        store.clear_stale()
        if store.guest_os != engine.capabilities.guest_os:
            store.set_guest_os(engine.capabilities.guest_os)
    except BaseException:
        engine.close()
        raise
    return engine


def _reconcile(store: Store, engine: Engine) -> None:
    """Rows without an image go; so do images without a row, unless they bear the mark."""
    known = {row.id for row in store.rows()}  # before the engine is asked: see reconcile
    present = {snapshot.key: snapshot.complete for snapshot in engine.list(known)}
    if known == present.keys():
        return
    for key in store.reconcile(present, known).orphans:
        with store.lock(key, Event(), lambda: None):
            engine.delete([key])
