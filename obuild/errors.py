"""Everything that can go wrong, as one tree of exceptions.

::

    ObuildError                exit code
    ├── UsageError             2   wrong options or arguments
    ├── ScriptError            2   a build script that cannot be read or means nothing
    ├── ContextError           2   a build context that is not a folder
    ├── BuildError             1   the build cannot go on
    │   ├── StepFailed         1   a command ended with another status than 0
    │   ├── SourceError        1   a source of a copy is missing, changed or of a wrong kind
    │   └── SecretError        1   a secret was not given
    ├── EngineError            3   the engine answered with an error
    │   ├── EngineUnavailable  3   there is no engine, or it stopped answering
    │   └── ImageError         3   an image is unknown or cannot be fetched
    ├── StoreError             4   the store cannot be used
    └── Cancelled              130 the user or a deadline ended the build

Each carries what a person needs: the message, where it happened, and what to do about it.
Code that lets an error pass may add what it knows with ``error.at(place)``.
"""

from __future__ import annotations

from typing import ClassVar, Self

from obuild.source import Place

__all__ = [
    "BuildError",
    "Cancelled",
    "ContextError",
    "EngineError",
    "EngineUnavailable",
    "ImageError",
    "ObuildError",
    "ScriptError",
    "SecretError",
    "SourceError",
    "StepFailed",
    "StoreError",
    "UsageError",
    "nearest",
]


class ObuildError(Exception):
    """An error that a user can cause; never shown as a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, place: Place | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place
        self.reported = False
        """Whether an event has told of it, so that a display of events shows it."""

    def at(self, place: Place | None) -> Self:
        """This error, with ``place`` if it has none yet."""
        if self.place is None:
            self.place = place
        return self


class UsageError(ObuildError):
    exit_code = 2


class ScriptError(ObuildError):
    exit_code = 2


class ContextError(ObuildError):
    exit_code = 2


class BuildError(ObuildError):
    exit_code = 1


class StepFailed(BuildError):
    """A command of a step ended with ``status`` (0 is never among them)."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        command: tuple[str, ...] = (),
        hint: str | None = None,
        place: Place | None = None,
    ):
        super().__init__(message, hint=hint, place=place)
        self.status = status
        self.command = command


class SourceError(BuildError):
    pass


class SecretError(BuildError):
    pass


class EngineError(ObuildError):
    """``passing``: a fault that may be over in a moment, so that another try makes sense."""

    exit_code = 3
    passing: bool = False


class EngineUnavailable(EngineError):
    pass


class ImageError(EngineError):
    pass


class StoreError(ObuildError):
    exit_code = 4


class Cancelled(ObuildError):
    exit_code = 130


def nearest(word: str, known: list[str], distance: int = 2) -> str | None:
    """The one of ``known`` that ``word`` is most likely a misspelling of, if any.

    Compared without regard to case; ``distance`` is the number of letters that may be
    added, dropped or changed.
    """
    best: tuple[int, str] | None = None
    for candidate in known:
        found = _edit_distance(word.lower(), candidate.lower(), distance)
        if found is not None and (best is None or found < best[0]):
            best = (found, candidate)
    return best[1] if best else None


def _edit_distance(a: str, b: str, limit: int) -> int | None:
    if abs(len(a) - len(b)) > limit or min(len(a), len(b)) <= limit // 2:
        return None
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1] if row[-1] <= limit else None
