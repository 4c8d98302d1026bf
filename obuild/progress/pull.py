"""How far a pull has come, from what the engine says of its parts."""

from __future__ import annotations

from obuild.events import PullProgress
from obuild.progress.output import clean
from obuild.progress.phrases import size

__all__ = ["Pull"]

_FETCHED = ("extracting", "verifying", "download complete", "pull complete", "already exists")
_OF_THE_WHOLE = ("pulling from", "status:", "digest:")


class _Part:
    def __init__(self) -> None:
        self.status = ""
        self.total = self.fetched = self.unpacked = 0

    def take(self, event: PullProgress) -> None:
        self.status = event.status.lower()
        self.total = max(self.total, event.total or 0, event.current or 0)
        if self.status.startswith("extracting"):
            self.unpacked = event.current or 0
        elif self.status.startswith("downloading"):
            self.fetched = event.current or 0
        if self.status.startswith(_FETCHED):
            self.fetched = self.total
        if self.ready:
            self.unpacked = self.total

    @property
    def ready(self) -> bool:
        return self.status.startswith(("pull complete", "already exists"))


class Pull:
    """The state of one pull: parts come, grow, and are unpacked."""

    def __init__(self) -> None:
        self.status = ""
        self._parts: dict[str, _Part] = {}

    def take(self, event: PullProgress) -> None:
        # The head of a pull may bear the image's tag as its part; it never has a size.
        if event.part and not event.status.lower().startswith(_OF_THE_WHOLE):
            self._parts.setdefault(event.part, _Part()).take(event)
        else:
            self.status = event.status

    @property
    def fraction(self) -> float | None:
        """Of the bytes, how many are fetched, then how many unpacked; None if unknown."""
        total = sum(part.total for part in self._parts.values())
        return self._done() / total if total else None

    @property
    def text(self) -> str:
        """For example ``downloading 45.1 of 120.3 MB, 3 of 7 parts ready``."""
        if not self._parts:
            return clean(self.status) or "pulling"
        ready = sum(part.ready for part in self._parts.values())
        parts = f"{ready} of {len(self._parts)} parts ready"
        total = sum(part.total for part in self._parts.values())
        if not total:
            return f"pulling, {parts}"
        verb = "unpacking" if self._fetched() else "downloading"
        return f"{verb} {size(self._done())} of {size(total)}, {parts}"

    def _fetched(self) -> bool:
        return all(part.status.startswith(_FETCHED) for part in self._parts.values())

    def _done(self) -> int:
        unpacking = self._fetched()
        return sum(p.unpacked if unpacking else p.fetched for p in self._parts.values())
