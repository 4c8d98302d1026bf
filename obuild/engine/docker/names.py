"""Names of the engine's objects: OBuilder's, so that both tools find the same snapshots.

``PREFIX`` is ``obuilder-HHHHHHH`` (see the store), ``KEY`` 64 hex digits.
"""

from __future__ import annotations

from obuild.values import Value

__all__ = ["Names"]

_KEY_DIGITS = 64


class Names(Value):
    """The names of one store's objects."""

    prefix: str

    def image(self, key: str) -> str:
        return f"{self.prefix}-image-{key}"

    def temporary(self, key: str) -> str:
        """The image that a step's container is made of, where it is not the parent itself."""
        return f"{self.prefix}-image-tmp-{key}"

    def container(self, key: str) -> str:
        return f"{self.prefix}-container-{key}"

    def idle(self, visit: str) -> str:
        """The container that lends its network to the runs of one visit."""
        return f"{self.prefix}-idle-{visit}"

    @property
    def libexec(self) -> str:
        """The volume that bears the mark of the store."""
        return f"{self.prefix}-libexec"

    def key_of_image(self, tag: str) -> str | None:
        """The key of ``NAME:latest``, None if that is no snapshot of this store."""
        return self._key(tag.removesuffix(":latest"), "-image-")

    def key_of_temporary(self, tag: str) -> str | None:
        return self._key(tag.removesuffix(":latest"), "-image-tmp-")

    def key_of_container(self, name: str) -> str | None:
        """The key of a container's name, with or without the slash that the API puts before."""
        return self._key(name.removeprefix("/"), "-container-")

    def visit_of_idle(self, name: str) -> str | None:
        start = f"{self.prefix}-idle-"
        return name.removeprefix(start) if name.startswith(start) else None

    def _key(self, name: str, kind: str) -> str | None:
        start = self.prefix + kind
        rest = name.removeprefix(start)
        if not name.startswith(start) or len(rest) != _KEY_DIGITS:
            return None
        return rest if all(c in "0123456789abcdef" for c in rest) else None
