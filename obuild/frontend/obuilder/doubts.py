"""What is valid in a spec, but hardly what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from obuild.errors import ScriptError
from obuild.ir.ops import Build, Cache, Copy, Env, NamedUser, Op, Run, Secret, Stage, UserOp
from obuild.sexp import quote

__all__ = ["doubts"]


def doubts(build: Build) -> Iterator[ScriptError]:
    """Each doubtful place of a build, in the order of the text, as an error to be drawn."""
    for stage in build.target.walk():
        yield from _unused(stage)
        for op in stage.ops:
            yield from _op(op)


def _unused(stage: Stage) -> Iterator[ScriptError]:
    """Nested builds that nothing copies from: OBuilder runs them all the same."""
    for index, (name, nested) in enumerate(stage.builds):
        later = [inner for _, inner in stage.builds[index + 1 :]]
        users = [stage, *(inner for outer in later for inner in outer.walk())]
        if not any(_copies_from(user, name) for user in users):
            yield ScriptError(
                f"nothing is copied from the build {quote(name)}, but it runs",
                place=nested.base.place,
                hint="leave it out, or copy what it makes",
            )


def _copies_from(stage: Stage, name: str) -> bool:
    return any(isinstance(op, Copy) and op.build == name for op in stage.ops)


def _op(op: Op) -> Iterator[ScriptError]:
    match op:
        case Copy():
            yield from _copy(op)
        case Env(name=name) if not name or "=" in name:
            yield ScriptError(
                f"no program can have a variable of the name {quote(name)}", place=op.place
            )
        case Run():
            yield from _run(op)
        case UserOp(user=NamedUser(name=name)):
            yield ScriptError(
                f"the user {quote(name)} is given by name, which is for Windows guests",
                place=op.place,
                hint="for Linux guests write (user (uid N) (gid N))",
            )


def _copy(op: Copy) -> Iterator[ScriptError]:
    if not op.src:
        yield ScriptError("this copy has no sources and will fail", place=op.place)
    elif len(op.src) > 1 and not op.dst.endswith("/"):
        yield ScriptError(
            f"several sources cannot all become {quote(op.dst)}: this will fail",
            place=op.place,
            hint=f"end the destination with a slash: (dst {op.dst}/)",
        )
    for source in op.src:
        if ".." in source.split("/"):
            yield ScriptError(
                f"the source {quote(source)} leads out of its folder: this will fail",
                place=op.place,
            )
    for name in op.exclude:
        if "/" in name or any(mark in name for mark in "*?["):
            yield ScriptError(
                f"{quote(name)} excludes only what has exactly this name",
                place=op.place,
                hint="excludes are names of files and folders, no paths and no patterns",
            )


def _run(op: Run) -> Iterator[ScriptError]:
    if len(op.network) > 1:
        yield ScriptError(
            "Docker joins a container to one network only when it starts it",
            place=op.place,
            hint="name one network",
        )
    mounts: tuple[Cache | Secret, ...] = (*op.cache, *op.secrets)
    for mount in mounts:
        if not mount.target.startswith("/") and ":" not in mount.target[:2]:
            yield ScriptError(
                f"the target {quote(mount.target)} is no absolute path", place=op.place
            )
