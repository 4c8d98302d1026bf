"""The secrets of a run as files: what a step asks of each, read and checked.

The options are those of BuildKit's ``RUN --mount=type=secret`` (Dockerfile reference): mode,
uid, gid, required and env. Whether a required one was given is known before a step is made.
"""

from __future__ import annotations

from obuild.engine.cacheuses import check_target, read_number, read_options
from obuild.errors import BuildError
from obuild.ir.ops import UnixUser, User
from obuild.ir.steps import RunStep, StepSecret
from obuild.platforms import Platform
from obuild.values import Value, field

__all__ = ["SecretFile", "read_secrets"]

_KNOWN = ["mode", "uid", "gid", "required", "env"]
_MODE, _MODE_OF_NAMED = 0o400, 0o444
_MAX_ID = 2**31 - 1


class SecretFile(Value):
    """A secret as a file: ``target`` is None if only a variable, ``variable``, is wanted."""

    id: str
    target: str | None
    value: bytes = field(repr=False)
    uid: int
    gid: int
    mode: int
    variable: str | None

    @property
    def assignment(self) -> str:
        """Of the variable. Raises ``BuildError`` for a value that none can hold."""
        try:
            text = self.value.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise BuildError(
                f"the secret {self.id} is not UTF-8, or has a NUL: no variable can hold it",
                hint="leave out its option env, and read the file",
            )
        return f"{self.variable}={text}"

    @property
    def split(self) -> tuple[str, str]:
        """Folder and name of a target on Windows."""
        folder, _, name = str(self.target).replace("\\", "/").rpartition("/")
        return folder, name


def read_secrets(step: RunStep, platform: Platform) -> list[SecretFile]:
    """The secrets of a step with their options read. Raises ``BuildError``."""
    found = [_read(secret, step.user, platform) for secret in step.secrets]
    targets = [secret.target for secret in found if secret.target is not None]
    for target in targets:
        if targets.count(target) > 1:
            raise BuildError(f"two secrets cannot both be at {target}", hint="name two files")
    return found


def _read(secret: StepSecret, user: User, platform: Platform) -> SecretFile:
    """The owner is the run's user, who alone may read it. A user by name may be anybody: then
    all may; nobody else is in the container."""
    what = f"the secret {secret.id}"
    options = read_options(secret.options, what, _KNOWN)
    variable = options.get("env")
    if variable is not None and (not variable or "=" in variable or "\0" in variable):
        raise BuildError(f"{what} has the env {variable!r}", hint="name a variable")
    if secret.target.endswith("/"):
        raise BuildError(f"the target of {what} is a folder: {secret.target}", hint="name a file")
    target = None
    if secret.target or variable is None:
        target = check_target(secret.target, what, platform)
    uid, gid, usual = 0, 0, _MODE_OF_NAMED
    if isinstance(user, UnixUser):
        uid, gid, usual = user.uid, user.gid, _MODE
    mode = read_number(options, "mode", what, 0o7777, base=8)
    owner = read_number(options, "uid", what, _MAX_ID)
    group = read_number(options, "gid", what, _MAX_ID)
    return SecretFile(
        id=secret.id,
        target=target,
        value=secret.value,
        uid=uid if owner is None else owner,
        gid=gid if group is None else group,
        mode=usual if mode is None else mode,
        variable=variable,
    )
