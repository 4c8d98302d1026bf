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
        new = store.store_id is None
        store_id = engine.claim(store.store_id, store.machine_id())
        if new:
            store.set_store_id(store_id)
        alone = all(name == visit for name in store.running() if name.startswith("visit-"))
        for removed in engine.sweep(store.alive):
            # Beside another build it may be what that one was just about to remove.
            if alone:
                emit(Warned(f"removed what a build that died had left behind: {removed}"))
        adopted = _reconcile(store, engine)
        if new and adopted:
            what = "1 stored step" if adopted == 1 else f"{adopted} stored steps"
            emit(Warned(f"the store has a new database; {what} of the engine's taken over"))
        store.clear_stale()
        if store.guest_os != engine.capabilities.guest_os:
            store.set_guest_os(engine.capabilities.guest_os)
    except BaseException:
        engine.close()
        raise
    return engine


def _reconcile(store: Store, engine: Engine) -> int:
    """Rows without an image go; so do images without a row, unless they bear the mark: the
    number of these, which have rows now."""
    known = {row.id for row in store.rows()}  # before the engine is asked: see reconcile
    present = {snapshot.key: snapshot.complete for snapshot in engine.list(known)}
    if known == present.keys():
        return 0
    done = store.reconcile(present, known)
    for key in done.orphans:
        with store.lock(key, Event(), lambda: None):
            engine.delete([key])
    return len(done.adopted)
