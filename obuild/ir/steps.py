"""Steps: ops with nothing implicit left in them, as the engine needs them."""

from __future__ import annotations

from obuild.ir.ops import Base, Cache, User
from obuild.source import Place
from obuild.values import Value, field

__all__ = ["BaseStep", "CopyStep", "RunStep", "Step", "StepSecret"]


class StepSecret(Value):
    """A secret with its value. The value is never shown: not in ``repr``, not in an event."""

    id: str
    target: str
    value: bytes = field(repr=False)
    options: tuple[tuple[str, str], ...] = ()


class BaseStep(Value):
    base: Base
    place: Place | None = field(default=None, compare=False, repr=False)


class RunStep(Value):
    """Run ``shell`` + (``cmd``,) in ``workdir`` as ``user``.

    ``env`` is the spec's own, the latest first, a name at most once; the image's comes
    below it. ``network`` empty means none at all. ``hostname`` is the guest's.
    """

    workdir: str
    user: User
    env: tuple[tuple[str, str], ...]
    cmd: str
    shell: tuple[str, ...]
    network: tuple[str, ...]
    secrets: tuple[StepSecret, ...] = ()
    caches: tuple[Cache, ...] = ()
    hostname: str = "builder"
    place: Place | None = field(default=None, compare=False, repr=False)


class CopyStep(Value):
    """Copy ``sources``, but for names in ``exclude``, to ``destination`` (absolute).

    A destination that ends in a slash is a directory into which all sources go; else the
    one source becomes the destination. ``build`` names the nested build that the sources
    are in, None for the build context.
    """

    sources: tuple[str, ...]
    destination: str
    exclude: tuple[str, ...]
    user: User
    build: str | None = None
    place: Place | None = field(default=None, compare=False, repr=False)


Step = BaseStep | RunStep | CopyStep
