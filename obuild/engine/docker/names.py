"""Names of the engine's objects: OBuilder's, so that both tools find the same snapshots.

``PREFIX`` is ``obuilder-HHHHHHH`` (see the store), ``KEY`` 64 hex digits.
"""

from __future__ import annotations

from obuild.values import Value

__all__ = ["Names"]

_KEY_DIGITS = 64
_UNFINISHED = "-stubs"
_LOOK = "-look"


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

    def unfinished(self, key: str) -> str:
        """What a run made, as long as there are mount points in it that must go."""
        return f"{self.prefix}-image-tmp-{key}{_UNFINISHED}"

    def secrets(self, key: str) -> str:
        """The volume with the secrets of a run, and the container that holds it."""
        return f"{self.prefix}-secrets-{key}"

    def after_secrets(self, key: str) -> str:
        """The container in which it is seen what mount points of secrets have left."""
        return f"{self.prefix}-secrets-{key}{_LOOK}"

    def transfer(self, lock: str, token: str) -> str:
        """A container through which a cache is read or written, under the lock ``lock``."""
        return f"{self.prefix}-transfer-{lock}-{token}"

    def copy(self, visit: str, number: int) -> str:
        """A container that a copy of this visit reads a snapshot through."""
        return f"{self.prefix}-copy-{visit}-{number}"

    def temporary_copy(self, container: str) -> str:
        """The image of such a container, where it is not the snapshot itself."""
        return f"{self.prefix}-image-tmp-{container.removeprefix(self.prefix + '-')}"

    @property
    def empty(self) -> str:
        """The image without files that such containers are made of."""
        return f"{self.prefix}-empty"

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
        name = tag.removesuffix(":latest").removesuffix(_UNFINISHED)
        return self._key(name, "-image-tmp-")

    def key_of_container(self, name: str) -> str | None:
        """The key of a container's name, with or without the slash that the API puts before."""
        return self._key(name.removeprefix("/"), "-container-")

    def visit_of_idle(self, name: str) -> str | None:
        start = f"{self.prefix}-idle-"
        return name.removeprefix(start) if name.startswith(start) else None

    def key_of_secrets(self, name: str) -> str | None:
        return self._key(name.removesuffix(_LOOK), "-secrets-")

    def owner_of_container(self, name: str) -> str | None:
        """The lock that whoever uses the container holds; None if no lock tells."""
        return (
            self.key_of_container(name)
            or self.key_of_secrets(name)
            or self.visit_of_idle(name)
            or self._lock_of_transfer(name)
            or self._visit_of_copy(name)
        )

    def owner_of_temporary(self, tag: str) -> str | None:
        """The lock that whoever uses the temporary image holds; None if no lock tells."""
        name = tag.removesuffix(":latest").replace("-image-tmp-copy-", "-copy-", 1)
        return self.key_of_temporary(tag) or self._visit_of_copy(name)

    def _visit_of_copy(self, name: str) -> str | None:
        start = f"{self.prefix}-copy-"
        return name.removeprefix(start).rpartition("-")[0] if name.startswith(start) else None

    def _lock_of_transfer(self, name: str) -> str | None:
        start = f"{self.prefix}-transfer-"
        return name.removeprefix(start).rpartition("-")[0] if name.startswith(start) else None

    def _key(self, name: str, kind: str) -> str | None:
        start = self.prefix + kind
        rest = name.removeprefix(start)
        if not name.startswith(start) or len(rest) != _KEY_DIGITS:
            return None
        return rest if all(c in "0123456789abcdef" for c in rest) else None
