"""The native engine: overlayfs snapshots and an OCI runtime, with no daemon.

Decisions, with the figures they rest on (two cores, ext4; milliseconds):

- **One process in namespaces** (``warden``) does all that needs them; each task is a fork of it
  (``inside``). It is started with the first step, 60-90, and its end is the end of all
  processes and mounts: so nothing need be looked for after a crash but folders.
- A step is a fork, an overlay in a mount namespace of the task's own, and the runtime in a
  pid namespace of its own: killing one process ends it. With crun a step takes 35-55, of which
  the runtime has most; with runc 60-75.
- **Layers are folders** (``layout``), mounted by short relative names (``inside.stacks``); 64
  of them are made one by hard links (``inside.joining``), so a chain has no end.
- What a run leaves is its layer: the places of mounts that the runtime makes are taken away
  again, and no configuration is ever changed by a run.
- Files of a copy are unpacked by a process whose root is the guest's (``inside.putting``):
  links of an image lead nowhere else. Copies between builds read the mounted snapshot with the
  code that reads the build context; no tool of the guest is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obuild.engine.native.engine import NativeEngine

__all__ = ["NativeEngine"]


def __getattr__(name: str) -> object:
    if name == "NativeEngine":
        from obuild.engine.native.engine import NativeEngine

        return NativeEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
