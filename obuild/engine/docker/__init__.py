"""The Docker engine: steps in containers, snapshots as images.

Decisions, with the figures they rest on (two cores, local daemons, network ``none``;
milliseconds on 20.10 / 28.5 classic store / 28.5 containerd store):

- A run costs create 7 / 7 / 16, start 140 / 74 / 75, commit 44 / 9 / 41, removal 7 / 6 / 9.
  Only what must be done in order is: a step's container and temporary image are removed
  while the next command starts (``removals``); beside a create or a commit a removal makes
  these slower by half. No image is tagged, and none inspected, for a run whose parent needs
  no clearing: what a commit makes of the configuration is known (``config``).
- A small copy costs create, HEAD of each folder on the way (2), put 42 / 3 / 3, and a commit.
  A copy of 20,000 files pays for each file that the daemon writes, so they are loaded as a
  layer, written once, where a put and a commit write them twice (``copies``).
- Configurations are put right by ``docker load`` without layers: 40-75 / 6 / 25
  (``layers.thinload``), and 36 more in containerd's store to learn the layers' names
  (``layers.blobs``).
- A copy from another build is answered by one container of its snapshot
  (``sources.serving``), which makes the manifest and then sends the files: 0.5-1.4 s for
  20,000 files, where the archive endpoint takes 2.9-3.8. The endpoint serves images without
  bash, coreutils or GNU tar, and what Docker itself puts into containers
  (``sources.archived``).
- An image of 124 layers is joined before it is built upon (``layers.flatten``): two streams of
  ``docker save`` and one load, every 100 steps. An export would empty ``/etc/hosts`` and lose
  attributes.
- Caches are copied between containers that never run, of an empty image (``volumes``), so no
  guest takes part. A volume cannot be renamed or marked later, so another volume is the sign
  that one is being replaced (``caches.publications``): whoever finds it does that again.
- A secret is a file of a volume in memory, held by a container of the step's own image, where
  that has a shell (``secrets``); what the mounts left is taken away by a layer
  (``secrets.traces``).
- Every call has a deadline. Where no deadline fits (a commit, a load, a command at work) the
  daemon is pinged meanwhile (``connection``).
- obuild's mark is the comment of the last entry of an image's history: it is part of what
  makes the image, so no image has the name and lacks it. The base of a build is the user's
  image under one more name and cannot bear a mark.
- Containers bear no labels, they would end in the image; an option of the log driver, which
  stays with the container, tells obuild's own (``leftovers``).

``glance`` looks without the SDK, and without the rest of this package, whether images are
there; so this package imports nothing before ``DockerEngine`` is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obuild.engine.docker.engine import DockerEngine

__all__ = ["DockerEngine"]


def __getattr__(name: str) -> object:
    if name == "DockerEngine":
        from obuild.engine.docker.engine import DockerEngine

        return DockerEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
