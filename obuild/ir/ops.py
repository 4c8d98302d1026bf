"""Ops, stages and builds: what both front ends make, and what prints as a spec.

Texts are strings in which bytes that are not UTF-8 stand as surrogates (``source.decode``).
Places are presentation: two builds that differ in them alone are equal.
"""

from __future__ import annotations

from collections.abc import Iterator

from obuild.source import Place
from obuild.values import Value, field

__all__ = [
    "Base",
    "Build",
    "Cache",
    "Comment",
    "Copy",
    "Env",
    "NamedUser",
    "Op",
    "Run",
    "Secret",
    "Shell",
    "Stage",
    "UnixUser",
    "User",
    "UserOp",
    "Workdir",
]


class UnixUser(Value):
    uid: int
    gid: int


class NamedUser(Value):
    """A user by name; OBuilder has it for Windows guests."""

    name: str


User = UnixUser | NamedUser


class Cache(Value):
    """A directory that outlives the steps that use it, mounted at ``target``.

    ``options`` are BuildKit's (sharing, mode, uid, gid), as name and value.
    """

    id: str
    target: str
    options: tuple[tuple[str, str], ...] = ()


class Secret(Value):
    """A file with the value of the secret ``id``, at ``target`` during the run only."""

    id: str
    target: str
    options: tuple[tuple[str, str], ...] = ()


class Comment(Value):
    text: str
    place: Place | None = field(default=None, compare=False, repr=False)


class Workdir(Value):
    path: str
    place: Place | None = field(default=None, compare=False, repr=False)


class Shell(Value):
    args: tuple[str, ...]
    place: Place | None = field(default=None, compare=False, repr=False)


class Env(Value):
    name: str
    value: str
    place: Place | None = field(default=None, compare=False, repr=False)


class UserOp(Value):
    user: User
    place: Place | None = field(default=None, compare=False, repr=False)


class Run(Value):
    shell: str
    cache: tuple[Cache, ...] = ()
    network: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)


class Copy(Value):
    """Copy ``src`` to ``dst``, from the build context or from the nested build ``build``."""

    src: tuple[str, ...]
    dst: str
    exclude: tuple[str, ...] = ()
    build: str | None = None
    place: Place | None = field(default=None, compare=False, repr=False)


Op = Comment | Workdir | Shell | Env | UserOp | Run | Copy


class Base(Value):
    """What a stage starts from: an image by the name as written.

    ``platform`` is ``os/arch`` or ``os/arch/variant`` where one is asked for; ``resolve``
    means that the image's digest, found at run time, decides the key instead of its name.
    """

    image: str
    platform: str | None = None
    resolve: bool = False
    place: Place | None = field(default=None, compare=False, repr=False)


class Stage(Value):
    """Ops on a base. ``builds`` are the nested builds, by name, in the order of the text."""

    base: Base
    ops: tuple[Op, ...] = ()
    builds: tuple[tuple[str, Stage], ...] = ()

    def walk(self) -> Iterator[Stage]:
        """This stage and all nested ones, each after those it may copy from."""
        for _, nested in self.builds:
            yield from nested.walk()
        yield self


class Build(Value):
    """The root of the IR. ``target`` is the outermost stage, whose last step is the result."""

    target: Stage
