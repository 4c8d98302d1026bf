"""Ops and builds as S-expressions and as text, in the forms that OBuilder prints."""

from __future__ import annotations

from obuild.ir.ops import (
    Base,
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
from obuild.sexp import Sexp, write_atom
from obuild.sexp.layout import Layout
from obuild.sexp.write import lay_out_atom

__all__ = [
    "build_sexp",
    "heading",
    "heading_of_base",
    "heading_of_build",
    "one_line",
    "op_sexp",
    "pretty",
    "user_sexp",
]


def op_sexp(op: Op) -> tuple[Sexp, ...]:
    """An op as a spec has it, fields in OBuilder's order, empty ones left out."""
    match op:
        case Comment(text=text):
            return ("comment", text)
        case Workdir(path=path):
            return ("workdir", path)
        case Shell(args=args):
            return ("shell", *args)
        case Env(name=name, value=value):
            return ("env", name, value)
        case UserOp(user=user):
            return ("user", *user_sexp(user))
        case Run():
            return ("run", *_run_fields(op))
        case Copy():
            return ("copy", *_copy_fields(op))


def user_sexp(user: User) -> tuple[Sexp, ...]:
    """The fields of a user: ``(uid N) (gid N)`` or ``(name N)``."""
    match user:
        case UnixUser(uid=uid, gid=gid):
            return (("uid", str(uid)), ("gid", str(gid)))
        case NamedUser(name=name):
            return (("name", name),)


def _run_fields(op: Run) -> list[Sexp]:
    fields: list[Sexp] = []
    if op.cache:
        fields.append(("cache", *(_mount_sexp(cache) for cache in op.cache)))
    if op.network:
        fields.append(("network", *op.network))
    if op.secrets:
        fields.append(("secrets", *(_mount_sexp(secret) for secret in op.secrets)))
    fields.append(("shell", op.shell))
    return fields


def _mount_sexp(mount: Cache | Secret) -> Sexp:
    target: Sexp = ("target", mount.target)
    if not mount.options:
        return (mount.id, target)
    return (mount.id, target, ("buildkit_options", mount.options))


def _copy_fields(op: Copy) -> list[Sexp]:
    fields: list[Sexp] = []
    if op.build is not None:
        fields.append(("from", ("build", op.build)))
    fields.append(("src", *op.src))
    fields.append(("dst", op.dst))
    if op.exclude:
        fields.append(("exclude", *op.exclude))
    return fields


def base_sexp(base: Base) -> tuple[Sexp, ...]:
    fields: list[Sexp] = []
    if base.platform is not None:
        fields.append(("platform", base.platform))
    if base.resolve:
        fields.append(("resolve",))
    return ("from", base.image, *fields)


def build_sexp(build: Build) -> Sexp:
    """The whole build; printed by ``to_machine`` or ``to_human`` it is a spec again."""
    return _stage_sexp(build.target)


def _stage_sexp(stage: Stage) -> Sexp:
    builds = (("build", name, _stage_sexp(nested)) for name, nested in stage.builds)
    return (*builds, base_sexp(stage.base), *(op_sexp(op) for op in stage.ops))


def pretty(build: Build) -> str:
    """The build with an op a line, as OBuilder's ``pp`` prints it; no final newline."""
    layout = Layout()
    layout.open("v", 0)
    _pretty_stage(layout, build.target)
    layout.blank(0)
    layout.text(")")
    return layout.finish()


def _pretty_stage(layout: Layout, stage: Stage) -> None:
    """All but the closing parenthesis, which ends a nested stage without a line break."""
    layout.text("(")
    layout.open("v", 0)
    for name, nested in stage.builds:
        layout.text("(build ")
        layout.open("v", 0)
        lay_out_atom(layout, name)
        layout.blank(0)
        _pretty_stage(layout, nested)
        layout.text("))")
        layout.close()
        layout.blank(0)
    _pretty_flat(layout, base_sexp(stage.base))
    for op in stage.ops:
        layout.blank(0)
        _pretty_op(layout, op)
    layout.close()


def _pretty_op(layout: Layout, op: Op) -> None:
    """A run has a field a line; a copy too where it does not fit on one line."""
    name, *fields = op_sexp(op)
    kind = {Run: "v", Copy: "hv"}.get(type(op))
    if kind is None:
        _pretty_flat(layout, (name, *fields))
        return
    layout.text(f"({name} ")
    layout.open(kind, 0)
    for index, inner in enumerate(fields):
        if index:
            layout.blank()
        _pretty_flat(layout, inner)
    layout.close()
    layout.text(")")


def _pretty_flat(layout: Layout, sexp: Sexp) -> None:
    """On one line, however long; only a string of several lines is split."""
    layout.open("h", 0)
    _flat(layout, sexp)
    layout.close()


def _flat(layout: Layout, sexp: Sexp) -> None:
    if isinstance(sexp, str):
        lay_out_atom(layout, sexp)
        return
    layout.text("(")
    for index, inner in enumerate(sexp):
        if index:
            layout.blank()
        _flat(layout, inner)
    layout.text(")")


def heading(workdir: str, op: Op) -> str:
    """What OBuilder prints when it reaches an op: ``WORKDIR: (op …)``."""
    layout = Layout()
    layout.open("v", 2)
    layout.text(workdir)
    layout.text(": ")
    _pretty_op(layout, op)
    return layout.finish()


def heading_of_base(base: Base) -> str:
    """What OBuilder prints when it reaches a base: ``(from NAME)``."""
    layout = Layout()
    _pretty_flat(layout, base_sexp(base))
    return layout.finish()


def heading_of_build(name: str) -> str:
    return f"(build {write_atom(name)})"


def one_line(op: Op | Base) -> str:
    """An op for a list: one line, a command without its quotes' escapes where it is plain."""
    sexp = base_sexp(op) if isinstance(op, Base) else op_sexp(op)
    return _line(sexp)


def _line(sexp: Sexp) -> str:
    if isinstance(sexp, str):
        return write_atom(sexp)
    return f"({' '.join(_line(inner) for inner in sexp)})"
