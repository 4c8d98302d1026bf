"""The native engine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any

from obuild.engine import (
    Action,
    CacheVolume,
    Cancel,
    Capabilities,
    Import,
    Lock,
    Output,
    PutFiles,
    ResolvedImage,
    RunCommand,
    Seal,
    Snapshot,
    Source,
    Waiting,
    unnoticed,
)
from obuild.engine.configs import sealed
from obuild.engine.native import cgroups
from obuild.engine.native.caches import Caches
from obuild.engine.native.calls import Calls
from obuild.engine.native.copies import Puts
from obuild.engine.native.layers import Layers
from obuild.engine.native.layout import Layout
from obuild.engine.native.names import Names
from obuild.engine.native.records import Record, read_all, read_record
from obuild.engine.native.running import Runs
from obuild.engine.native.shelf import Shelf
from obuild.engine.native.sources import open_source
from obuild.engine.native.stock import Stock
from obuild.engine.native.trouble import troubles
from obuild.errors import Cancelled, EngineError, StoreError
from obuild.events import Emit
from obuild.values import replace

__all__ = ["NativeEngine"]


def _alone(_name: str, _cancel: Cancel, _waiting: Callable[[], None]) -> nullcontext[None]:
    """For an engine that nobody else uses."""
    return nullcontext()


def _maps(search: str) -> Callable[[int], None]:
    import pwd

    from obuild.engine.native import idmap

    idmap.check_kernel()
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    mapping = idmap.find_mapping(uid, os.getgid(), name, search=search)
    return lambda process: idmap.apply(mapping, process)


class NativeEngine:
    """Runs steps in an OCI runtime and keeps snapshots as layers of overlayfs.

    ``root`` is the folder of the store; ``prefix`` begins the names of control groups;
    ``search`` is the PATH; ``maps`` gives a user namespace its maps, None for root; ``lock``
    locks caches. Nothing is started before the first step.
    """

    def __init__(
        self,
        root: str,
        prefix: str,
        *,
        search: str,
        maps: Callable[[], Callable[[int], None]] | None,
        lock: Lock | None = None,
    ):
        self._layout = Layout(root)
        self._layout.make()
        self._prefix = prefix
        self._calls = Calls(maps)
        self._layers = Layers(self._layout, self._calls)
        shelf = Shelf(self._layout, self._layers, self._calls)
        caches = Caches(shelf, self._layers, lock or _alone)
        self._runs = Runs(self._layout, self._layers, self._calls, caches, prefix, search)
        self._stock = Stock(shelf, self._layout, self._layers, self._calls, lock or _alone)
        self._puts = Puts(self._layout, self._layers, self._calls)
        self._names = Names(self._layout, self._layers, self._calls)

    @classmethod
    def of_this_user(
        cls, root: str, prefix: str, *, search: str, lock: Lock | None = None
    ) -> NativeEngine:
        """As root, or in a user namespace. Raises ``EngineUnavailable`` once it is used, where
        that cannot be had."""
        maps = None if os.geteuid() == 0 else lambda: _maps(search)
        return cls(root, prefix, search=search, maps=maps, lock=lock)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("native", "linux")

    def resolve(
        self, reference: str, platform: str | None, emit: Emit, step: int, *, pull: bool
    ) -> ResolvedImage:
        return self._names.resolve(reference, platform, emit, step, pull=pull).resolved()

    def execute(
        self,
        key: str,
        parent: str | None,
        action: Action,
        output: Output,
        cancel: Cancel,
        waiting: Waiting = unnoticed,
    ) -> Snapshot:
        if cancel.is_set():
            raise Cancelled("cancelled")
        if parent is None and not isinstance(action, Import):
            raise ValueError("only an import has no parent")
        with troubles(), self._layers.making(key) as work:
            match action:
                case Import():
                    record = self._names.record(action.image)
                case RunCommand():
                    below = self._record(str(parent))
                    record = self._runs.run(key, below, action, work, output, cancel, waiting)
                case PutFiles():
                    record = self._puts.put(key, self._record(str(parent)), action, work, cancel)
                case Seal():
                    record = self._sealed(
                        self._record(str(parent)), self._record(action.base), action
                    )
            self._layers.record(self._layout.snapshot(key), record, work)
        return Snapshot(key, record.id)

    def source(self, key: str, cancel: Cancel) -> AbstractContextManager[Source]:
        record = self._record(key)
        return open_source(record, key, self._layout, self._layers, self._calls, cancel)

    def exists(self, key: str) -> bool:
        return os.path.exists(self._layout.snapshot(key))

    def list(self, _vouched: Collection[str] = ()) -> Sequence[Snapshot]:
        found = read_all(self._layout.snapshots)
        return tuple(Snapshot(key, record.id) for key, record in found)

    def sizes(self) -> Mapping[str, int]:
        return {
            key: sum(layer.size for layer in record.layers)
            for key, record in read_all(self._layout.snapshots)
        }

    def delete(self, keys: Iterable[str]) -> None:
        candidates: set[str] = set()
        for key in keys:
            record = read_record(self._layout.snapshot(key))
            if record is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._layout.snapshot(key))
            candidates.update(record.stack, (layer.name for layer in record.layers))
        if candidates:
            self._layers.remove_unused(candidates)

    def restore(self, key: str, base: str) -> None:
        """Runs never change the configuration, so there is nothing to be put right."""
        self._record(key)
        self._record(base)

    def inspect(self, key: str) -> ResolvedImage:
        return self._record(key).resolved()

    def publish(self, key: str, name: str) -> None:
        self._names.publish(self._record(key), name)

    def claim(self, store_id: str | None, machine_id: str) -> str:
        from secrets import token_hex

        with self._alone():
            try:
                with open(self._layout.mark, encoding="utf-8") as file:
                    found = json.load(file)
            except FileNotFoundError:
                found = {"store": store_id or token_hex(16), "machine": machine_id}
                half = f"{self._layout.mark}.new"
                with open(half, "w", encoding="utf-8") as file:
                    json.dump(found, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(half, self._layout.mark)
            except ValueError as error:
                raise StoreError(
                    f"{self._layout.mark} is damaged: {error}",
                    hint=f"if the store is yours: rm {self._layout.mark}",
                ) from error
        if found["machine"] != machine_id:
            raise self._foreign("another machine")
        if store_id is not None and found["store"] != store_id:
            raise self._foreign("another store")
        return str(found["store"])

    def sweep(self, alive: Callable[[str], bool]) -> Sequence[str]:
        # Layers before work: see ``layout``.
        present = self._layers.present()
        living = False
        removed = []
        for name in sorted(os.listdir(self._layout.work)):
            dead = not alive(name.partition(".")[0]) and self._layers.clear_work(name)
            if dead:
                removed.append(f"folder {name}")
            elif dead is not None:
                living = True
        if not living:
            removed += cgroups.sweep(cgroups.find(), f"{self._prefix}-")
            self._layers.remove_unused(present)
        return tuple(removed)

    def healthcheck(self, image: str | None) -> str:
        how = "as root" if self._calls.root else "in a user namespace"
        what = "a container"
        if image is not None:
            record = self._names.resolve(image, None, lambda _: None, 0, pull=False)
            self._runs.check(record)
            what = f"a container of {image}"
        else:
            self._runs.check(None)
        return f"{what} was started, {how}, by {self._runs.runtime.name}"

    def named(self, name: str) -> Record:
        """The image of that name. Raises ``ImageError``."""
        return self._names.resolve(name, None, lambda _: None, 0, pull=False)

    def add_image(self, name: str, record: Record) -> None:
        """Give an image a name, whatever had it before."""
        self._names.publish(record, name)

    def import_tree(self, name: str, archive: IO[bytes], document: Mapping[str, Any]) -> Record:
        """See ``Names.add_tree``."""
        return self._names.add_tree(name, archive, document)

    def caches(self) -> Sequence[CacheVolume]:
        return self._stock.list()

    def remove_cache(self, cache: CacheVolume) -> None:
        self._stock.remove(cache)

    def export_cache(self, cache: CacheVolume, cancel: Cancel) -> Iterator[bytes]:
        return self._stock.take_out(cache, cancel)

    def import_cache(
        self, id: str, sharing: str, archive: Iterator[bytes], cancel: Cancel
    ) -> CacheVolume:
        return self._stock.put_in(id, sharing, archive, cancel)

    def clean(self) -> None:
        for cache in self._stock.list():
            self._stock.remove(cache)
        self.delete([key for key, _ in read_all(self._layout.snapshots)])

    def close(self) -> None:
        self._calls.close()

    def _record(self, key: str) -> Record:
        record = read_record(self._layout.snapshot(key))
        if record is None:
            raise EngineError(
                f"there is no snapshot {key}", hint="somebody removed it; run the build again"
            )
        missing = [
            name for name in record.stack if not os.path.isdir(f"{self._layout.layer(name)}/fs")
        ]
        if missing:
            raise EngineError(
                f"the layer {missing[0]} of the snapshot {key} is gone from the disk",
                hint=f"obuild delete {key[:12]}, and run the build again",
            )
        return record

    def _sealed(self, parent: Record, base: Record, action: Seal) -> Record:
        document: dict[str, Any] = {**base.document}
        document["config"] = sealed(base.config, action.config)
        return replace(parent, document=document)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._layout.top, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _foreign(self, whose: str) -> StoreError:
        return StoreError(
            f"{self._layout.top} belongs to {whose}",
            hint="choose another --store; or, if that store is gone for good:"
            f" rm {self._layout.mark}",
        )
