"""Preimages of steps, and their keys.

The fields and their order are OBuilder's (``run_input`` and ``copy_details`` of its
``lib/build.ml``). Fields of obuild's own stand behind them, only where they are used.
"""

from __future__ import annotations

import hashlib

from obuild.errors import BuildError
from obuild.ir.image import ImageConfig
from obuild.ir.manifest import Manifest, write_manifest
from obuild.ir.ops import Base
from obuild.ir.printing import user_sexp
from obuild.ir.steps import CopyStep, RunStep, StepSecret
from obuild.sexp import Sexp, to_machine
from obuild.source import decode, encode
from obuild.values import names

__all__ = [
    "base_preimage",
    "copy_preimage",
    "key_of",
    "kept",
    "pinned",
    "run_preimage",
    "seal_preimage",
]


def key_of(preimage: Sexp) -> str:
    """The sha256 of the machine form, in 64 hex digits; of a bare atom: of its bytes."""
    text = preimage if isinstance(preimage, str) else to_machine(preimage)
    return hashlib.sha256(encode(text)).hexdigest()


def base_preimage(base: Base, identity: str | None = None) -> Sexp:
    """A base by its name as written; or by what it was resolved to.

    ``identity`` is the digest, or the engine's image id, of a base that is resolved at run
    time. Where a platform is asked for, it is in the preimage.
    """
    if not base.resolve and base.platform is None:
        return base.image
    found: list[Sexp] = [("image", base.image)]
    if base.resolve:
        assert identity is not None, "a base that is resolved needs the result"
        found.append(("digest", identity))
    if base.platform is not None:
        found.append(("platform", base.platform))
    return tuple(found)


def pinned(name: str, digest: str) -> str:
    """The image name with the digest written into it, in place of one that it has."""
    return f"{name.split('@')[0]}@{digest}"


def run_preimage(base: str, step: RunStep) -> Sexp:
    """What a run depends on. Caches are not in it; a secret is, with its value."""
    return (
        ("base", base),
        ("workdir", step.workdir),
        ("user", user_sexp(step.user)),
        ("env", step.env),
        ("cmd", step.cmd),
        ("shell", step.shell),
        ("network", step.network),
        ("mount_secrets", tuple(_secret(secret) for secret in reversed(step.secrets))),
    )


def _secret(secret: StepSecret) -> Sexp:
    return (("value", decode(secret.value)), ("target", secret.target))


def copy_preimage(
    base: str, step: CopyStep, manifests: tuple[Manifest, ...], executable: tuple[str, ...]
) -> Sexp:
    """What a copy depends on.

    OBuilder's manifest has no modes, so the paths of files with an x bit stand behind it;
    with none, be it that they are left out, the key is OBuilder's own. Raises ``BuildError``
    for several sources without a directory to put them in, and for none.
    """
    preimage: tuple[Sexp, ...] = (
        ("base", base),
        ("user", user_sexp(step.user)),
        ("op", _copy_op(step, manifests)),
    )
    return (*preimage, ("executable", executable)) if executable else preimage


def _copy_op(step: CopyStep, manifests: tuple[Manifest, ...]) -> Sexp:
    found = tuple(write_manifest(manifest) for manifest in manifests)
    if not found:
        raise BuildError("this copy has no sources", place=step.place, hint="name some in (src …)")
    if step.destination.endswith("/"):
        return ("Copy_items", (found, step.destination))
    if len(found) > 1:
        raise BuildError(
            f"{len(found)} sources cannot all become {step.destination}",
            place=step.place,
            hint=f"to copy them into a directory, write (dst {step.destination}/)",
        )
    return ("Copy_item", (found[0], step.destination))


def seal_preimage(image_id: str, base_id: str, config: ImageConfig) -> Sexp:
    """What a sealed image depends on: the image that it seals, the base whose
    configuration it takes (both by the engine's ids), and what is set over that."""
    own: list[Sexp] = []
    for name in names(config):
        value = getattr(config, name)
        if value:
            own.append((name, value))
    return (("seal", image_id), ("base", base_id), ("config", tuple(own)))


def kept(preimage: Sexp, secrets: tuple[StepSecret, ...], secret_key: bytes) -> str:
    """The preimage in the form that is stored: no secret is in it, only an HMAC of each.

    The HMAC (SHA-256, under the store's random ``secret_key``) tells whether a secret has
    changed, and nothing else.
    """
    if secrets and isinstance(preimage, tuple):
        hidden = tuple(
            StepSecret(s.id, s.target, _hmac(s.value, secret_key), s.options) for s in secrets
        )
        mounts: Sexp = ("mount_secrets", tuple(_secret(s) for s in reversed(hidden)))
        preimage = tuple(mounts if field[0] == "mount_secrets" else field for field in preimage)
    return preimage if isinstance(preimage, str) else to_machine(preimage)


def _hmac(value: bytes, secret_key: bytes) -> bytes:
    import hmac  # only secrets need it

    digest = hmac.new(secret_key, value, hashlib.sha256).hexdigest()
    return f"hmac-sha256:{digest}".encode()
