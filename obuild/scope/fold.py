"""One op at a time: the scope after it, and the step that it makes, if it makes one."""

from __future__ import annotations

from collections.abc import Mapping

from obuild.errors import SecretError
from obuild.ir.ops import (
    Comment,
    Copy,
    Env,
    NamedUser,
    Op,
    Run,
    Shell,
    UnixUser,
    User,
    UserOp,
    Workdir,
)
from obuild.ir.steps import CopyStep, RunStep, StepSecret
from obuild.platforms import Platform
from obuild.values import Value, replace

__all__ = ["Scope", "apply", "start"]


class Scope(Value):
    """What the next op inherits. ``env`` is the latest first, a name at most once.

    ``network`` is the build's default: for runs that name none.
    """

    platform: Platform
    workdir: str
    user: User
    shell: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    network: tuple[str, ...] = ()


def start(platform: Platform, network: str | None = None) -> Scope:
    """The scope in which a stage on a base of that platform begins."""
    name = platform.user_name
    return Scope(
        platform=platform,
        workdir=platform.workdir,
        user=UnixUser(0, 0) if name is None else NamedUser(name),
        shell=platform.shell,
        network=() if network is None else (network,),
    )


def apply(
    scope: Scope, op: Op, secrets: Mapping[str, bytes]
) -> tuple[Scope, RunStep | CopyStep | None]:
    """The scope after ``op``, and the step that ``op`` makes in ``scope``.

    ``secrets`` are the values that were given, by id. Raises ``SecretError`` for one that a
    run needs and that was not given.
    """
    match op:
        case Comment():
            return scope, None
        case Workdir(path=path):
            return replace(scope, workdir=_enter(scope, path)), None
        case Shell(args=args):
            return replace(scope, shell=args), None
        case Env(name=name, value=value):
            others = tuple(pair for pair in scope.env if pair[0] != name)
            return replace(scope, env=((name, value), *others)), None
        case UserOp(user=user):
            return replace(scope, user=user), None
        case Run():
            return scope, _run(scope, op, secrets)
        case Copy():
            return scope, _copy(scope, op)


def _enter(scope: Scope, path: str) -> str:
    # Not tidied: OBuilder joins with a slash whatever stands on either side, and the
    # workdir is in the key as it is.
    return path if scope.platform.is_absolute(path) else f"{scope.workdir}/{path}"


def _run(scope: Scope, op: Run, secrets: Mapping[str, bytes]) -> RunStep:
    given = []
    for secret in op.secrets:
        if secret.id not in secrets:
            raise SecretError(
                f"no value was given for the secret {secret.id!r}",
                place=op.place,
                hint=f"give it with --secret {secret.id}:FILE",
            )
        given.append(StepSecret(secret.id, secret.target, secrets[secret.id], secret.options))
    return RunStep(
        workdir=scope.workdir,
        user=scope.user,
        env=scope.env,
        cmd=op.shell,
        shell=scope.shell,
        network=op.network or scope.network,
        secrets=tuple(given),
        caches=op.cache,
        place=op.place,
    )


def _copy(scope: Scope, op: Copy) -> CopyStep:
    destination = op.dst
    if not scope.platform.is_absolute(destination):
        # Here OBuilder does not double a slash, other than in a workdir.
        gap = "" if scope.workdir.endswith("/") else "/"
        destination = f"{scope.workdir}{gap}{destination}"
    return CopyStep(
        sources=op.src,
        destination=destination,
        exclude=op.exclude,
        user=scope.user,
        build=op.build,
        place=op.place,
    )
