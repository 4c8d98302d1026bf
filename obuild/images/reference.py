"""Names of images: ``[HOST/]REPOSITORY[:TAG][@DIGEST]``, by Docker's rules.

The grammar is that of the distribution project (its package ``reference``); what a short
name stands for is Docker's: no host is ``docker.io``, one word there is ``library/WORD``.
"""

from __future__ import annotations

import re

from obuild.errors import ImageError
from obuild.values import Value

__all__ = ["DOCKER_HUB", "Reference", "parse"]

DOCKER_HUB = "docker.io"

_HINT = "an image is called [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], the name in lower case"
_LONGEST_NAME = 255
_LONGEST = 2000

_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{64}")


class Reference(Value):
    """An image of a registry. ``host`` has the port, if one was given; ``repository`` is the
    name in full (``library/busybox``). ``tag`` is None only where there is a digest."""

    host: str
    repository: str
    tag: str | None
    digest: str | None = None

    @property
    def full(self) -> str:
        """For example ``docker.io/library/busybox:latest``."""
        return f"{self.host}/{self.repository}{self._suffix()}"

    @property
    def familiar(self) -> str:
        """As people write it: ``busybox:latest``."""
        if self.host != DOCKER_HUB:
            return self.full
        return self.repository.removeprefix("library/") + self._suffix()

    @property
    def target(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse(text: str) -> Reference:
    """The image that ``text`` names. Raises ``ImageError`` for what is no name."""
    if not text or len(text) > _LONGEST:
        raise _bad(text, "it is empty" if not text else "it is too long")
    if _ID.fullmatch(text):
        raise _bad(text, "64 hexadecimal digits are an id, not a name")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _bad(text, "what follows the @ is no sha256 digest")
    tag = None
    if ":" in rest.rpartition("/")[2]:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise _bad(text, f"{tag!r} is no tag")
    host, repository = _split(rest)
    if not _HOST.fullmatch(host):
        raise _bad(text, f"{host!r} is no host")
    if len(repository) > _LONGEST_NAME:
        raise _bad(text, f"its name has more than {_LONGEST_NAME} letters")
    if repository != repository.lower():
        raise _bad(text, "its name has capital letters")
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise _bad(text, f"{component!r} is no part of a name")
    if tag is None and not digest:
        tag = "latest"
    return Reference(host, repository, tag, digest or None)


def _split(name: str) -> tuple[str, str]:
    """Host and repository: a first part is a host if it cannot be the name of a user."""
    first, slash, rest = name.partition("/")
    is_host = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    host, repository = (first, rest) if is_host else (DOCKER_HUB, name)
    if host == f"index.{DOCKER_HUB}":
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return host, repository


def _bad(text: str, why: str) -> ImageError:
    return ImageError(f"{text[:100]!r} is no name of an image: {why}", hint=_HINT)
