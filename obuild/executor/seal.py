"""The sealed image: what ``-t`` names, with the configuration of the last scope."""

from __future__ import annotations

import time
from contextlib import ExitStack
from threading import Event

from obuild.engine import Engine, Seal
from obuild.ir.image import ImageConfig
from obuild.ir.ops import UnixUser
from obuild.keys import key_of, seal_preimage
from obuild.scope import Scope
from obuild.sexp import to_machine
from obuild.store import Record, Store
from obuild.values import replace

__all__ = ["seal"]


def seal(
    store: Store,
    engine: Engine,
    key: str,
    base: str,
    scope: Scope,
    tags: tuple[str, ...],
    cancel: Event,
) -> str:
    """Seal the snapshot ``key`` and give the image its names; returns the engine's id of it.

    The seal is a snapshot of its own, a child of what it seals, so that deleting takes it
    along. Its key holds the ids of both images: a result that was built anew is sealed anew.
    """
    config = config_of(scope)
    with ExitStack() as locks:
        # Of what is sealed too, or another build might replace it meanwhile.
        locks.enter_context(store.lock(key, cancel, lambda: None))
        preimage = seal_preimage(engine.inspect(key).id, engine.inspect(base).id, config)
        seal_key = key_of(preimage)
        locks.enter_context(store.lock(seal_key, cancel, lambda: None))
        if store.row(seal_key) is not None and engine.exists(seal_key):
            store.use(seal_key)
        else:
            began = time.monotonic()
            record = Record(
                key=seal_key,
                kind="seal",
                title="seal",
                preimage=to_machine(preimage),
                spec="",
                within="",
                position=0,
                created="",
                seconds=0.0,
                settled=True,
                executables=(),
                base=base,
            )
            store.announce(seal_key, key, record)
            engine.execute(seal_key, key, Seal(base, config), lambda _: None, cancel)
            store.add(seal_key, key, replace(record, seconds=time.monotonic() - began))
    for tag in tags:
        engine.publish(seal_key, tag)
    return engine.inspect(seal_key).id


def config_of(scope: Scope) -> ImageConfig:
    """What a container of the image starts with: just what the next run would have had."""
    user = scope.user
    return ImageConfig(
        env=tuple(f"{name}={value}" for name, value in reversed(scope.env)),
        workdir=scope.workdir,
        user=f"{user.uid}:{user.gid}" if isinstance(user, UnixUser) else user.name,
        shell=scope.shell,
    )
