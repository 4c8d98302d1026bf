"""How an archive is unpacked, and what came of it."""

from __future__ import annotations

from enum import Enum

from obuild.layers.members import Limits
from obuild.values import Value

__all__ = ["Extracted", "Extraction", "Links", "Whiteouts"]


class Whiteouts(Enum):
    """What members called ``.wh.NAME`` mean (OCI image spec, "Whiteouts").

    OVERLAY: the root is empty and becomes a layer of overlayfs: its marks are made.
    APPLY: the root holds the layers below: what is marked is removed.
    REFUSED: the archive is a plain tree for an image, which can hold no such names.
    LITERAL: they are names like others.
    """

    OVERLAY = "overlay"
    APPLY = "apply"
    REFUSED = "refused"
    LITERAL = "literal"


class Links(Enum):
    """What a symbolic link on the way to a member does.

    REFUSED: it is an error. INSIDE: it is followed as if the root were that of the system,
    as Docker does; it cannot lead out.
    """

    REFUSED = "refused"
    INSIDE = "inside"


class Extraction(Value):
    """- ``user_xattrs``: marks of overlayfs are ``user.overlay.``, for mounts in user
      namespaces; else ``trusted.overlay.``.
    - ``owners``: files get the owners that the archive says; else they are the caller's,
      without set-uid and set-gid bits.
    - ``strict``: a device node or attribute that the caller may not make is an error; else
      it is left out, and ``Extracted.skipped`` says so.
    - ``replace``: a member replaces what is there of another kind, a directory with all that
      is in it; else that is an error. A file always replaces a file or a link.
    - ``closed``: the archive must end with its closing blocks.
    - ``plain``: it is not compressed, whatever its first bytes are like. For what obuild made
      itself, whose first bytes may be a name that somebody chose.
    - ``lower``: open roots of the layers below, topmost first: a directory that the archive
      has no member for is made as it is there.
    """

    whiteouts: Whiteouts = Whiteouts.OVERLAY
    user_xattrs: bool = False
    owners: bool = True
    strict: bool = True
    links: Links = Links.REFUSED
    replace: bool = True
    closed: bool = True
    plain: bool = False
    lower: tuple[int, ...] = ()
    limits: Limits = Limits()


class Extracted(Value):
    """``digest``: sha256 in hex of the uncompressed stream, of ``size`` bytes; ``content``:
    the bytes of all files together; ``skipped``: sentences about what was left out."""

    digest: str
    size: int
    members: int
    content: int
    skipped: tuple[str, ...] = ()
