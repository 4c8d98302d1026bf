"""A build as the Dockerfile that ``obuilder dockerfile`` writes, byte for byte.

This is OBuilder's own rough translation, kept for its users: it quotes as OBuilder quotes,
which is not always what Docker reads. What it has no words for is an error here.
"""

from __future__ import annotations

from collections.abc import Iterator

from obuild.errors import ScriptError
from obuild.ir.ops import (
    Build,
    Cache,
    Comment,
    Copy,
    Env,
    NamedUser,
    Op,
    Run,
    Secret,
    Shell,
    Stage,
    UnixUser,
    User,
    UserOp,
    Workdir,
)
from obuild.platforms import WINDOWS
from obuild.values import Value

__all__ = ["dockerfile"]

_BLANKS = " \t\n\r\f"


class _Style(Value):
    """``escape`` is the escape character of the file, ``mounts`` whether RUN has mounts."""

    escape: str
    mounts: bool
    user: User


def dockerfile(build: Build, *, buildkit: bool, windows: bool) -> str:
    """The Dockerfile, ending in a newline.

    Raises ``ScriptError`` for a mount under a user by name, which Dockerfiles cannot say
    in this form (OBuilder fails an assertion there).
    """
    if windows:
        style = _Style("`", buildkit, NamedUser(WINDOWS.user_name or ""))
    else:
        style = _Style("\\", buildkit, UnixUser(0, 0))
    head = "#escape=`\n" if windows else ""
    return head + "\n".join(_stages(build.target, None, style))


def _stages(stage: Stage, name: str | None, style: _Style) -> Iterator[str]:
    for nested_name, nested in stage.builds:
        yield from _stages(nested, nested_name, style)
    suffix = f" as {name}" if name is not None else ""
    lines = [f"FROM {stage.base.image}{suffix}"]
    user = style.user
    for op in stage.ops:
        if isinstance(op, UserOp):
            user = op.user
        lines.append(_instruction(op, user, style))
    yield "".join(line + "\n" for line in lines)


def _instruction(op: Op, user: User, style: _Style) -> str:
    match op:
        case Comment(text=text):
            return f"# {text}"
        case Workdir(path=path):
            return f"WORKDIR {path}"
        case Shell(args=args):
            words = ", ".join(f'"{arg}"' for arg in args)
            return f"SHELL [ {words} ]"
        case Env(name=name, value=value):
            return f'ENV {name}="{_escaped(value, style.escape)}"'
        case UserOp():
            return f"USER {_owner(user)}"
        case Run():
            return _run(op, user, style)
        case Copy():
            return _copy(op, user)


def _escaped(value: str, escape: str) -> str:
    return value.replace(escape, escape * 2).replace('"', escape + '"')


def _owner(user: User) -> str:
    return f"{user.uid}:{user.gid}" if isinstance(user, UnixUser) else user.name


def _run(op: Run, user: User, style: _Style) -> str:
    mounts = ""
    if style.mounts:
        mounted: tuple[Secret | Cache, ...] = (*op.secrets, *op.cache)
        mounts = "".join(_mount(mount, user, op) for mount in mounted)
    lines = (line.strip(_BLANKS) for line in op.shell.split("\n"))
    return f"RUN {mounts}" + f" {style.escape}\n    ".join(lines)


def _mount(mount: Secret | Cache, user: User, op: Run) -> str:
    kind = "secret" if isinstance(mount, Secret) else "cache"
    if not isinstance(user, UnixUser):
        raise ScriptError(
            f"the {kind} {mount.id} belongs to the user {user.name}, "
            "but a mount in a Dockerfile needs a numeric user",
            place=op.place,
            hint="set a (user (uid N) (gid N)) before this, or leave out --buildkit",
        )
    options = "".join(f",{name}={value}" for name, value in mount.options)
    return f"--mount=type={kind},id={mount.id},target={mount.target},uid={user.uid}{options} "


def _copy(op: Copy, user: User) -> str:
    chown = ""
    if isinstance(user, UnixUser) and user != UnixUser(0, 0):
        chown = f"--chown={_owner(user)} "
    source = f"--from={op.build} " if op.build is not None else ""
    return f"COPY {chown}{source}{' '.join(op.src)} {op.dst}"
