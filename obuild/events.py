"""What happened in a build, as values. Every display is a reader of one stream of them.

An event that belongs to a step carries the step's number, which counts from 1 in the order
in which the build meets its steps. ``within`` is the names of the nested builds around it,
outermost first, empty for the outermost. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from obuild.values import Value

__all__ = [
    "NEVER_BUILT",
    "BuildFinished",
    "Emit",
    "EngineCalled",
    "Event",
    "Heading",
    "PullProgress",
    "StageFinished",
    "StageStarted",
    "StepExplained",
    "StepFailed",
    "StepHit",
    "StepOutput",
    "StepSaved",
    "StepStarted",
    "StepWaiting",
    "Warned",
]


NEVER_BUILT = "never built here"
"""The reason of a step that there is nothing to compare with."""


class StageStarted(Value):
    """A nested build begins; its own name is the last of ``within``."""

    within: tuple[str, ...]


class StageFinished(Value):
    within: tuple[str, ...]


class Heading(Value):
    """An op is reached, whether or not it makes a step.

    ``text`` is what OBuilder prints for it: ``(from NAME)`` or ``WORKDIR: (op …)``, on
    several lines where the op is long.
    """

    within: tuple[str, ...]
    text: str


class StepStarted(Value):
    """A step is looked up in the store. ``title`` is one line; ``where`` is FILE:LINE."""

    step: int
    within: tuple[str, ...]
    kind: str
    title: str
    key: str
    where: str | None = None


class StepWaiting(Value):
    """Somebody else has the step in work, or it waits for its turn; ``reason`` says which."""

    step: int
    reason: str


class StepExplained(Value):
    """Why the step is not taken from the store, in the user's words, a reason each."""

    step: int
    reasons: tuple[str, ...]


class StepOutput(Value):
    """Bytes that the step printed; chunks, not lines. ``replayed``: from the stored log."""

    step: int
    data: bytes
    replayed: bool = False


class PullProgress(Value):
    """The state of one part of a pull. Sizes are bytes; ``total`` may be unknown."""

    step: int
    part: str
    status: str
    current: int | None = None
    total: int | None = None


class StepHit(Value):
    step: int
    key: str
    seconds: float


class StepSaved(Value):
    step: int
    key: str
    seconds: float


class StepFailed(Value):
    """The step did not get through.

    ``status`` and ``command`` are those of the process, if it came to one; ``hint`` is what
    to do about it; ``excerpt`` is the line of the script and one that marks the place in it;
    ``cancelled`` tells a step that was stopped from one that failed.
    """

    step: int
    key: str
    seconds: float
    message: str
    status: int | None = None
    command: tuple[str, ...] = ()
    cancelled: bool = False
    hint: str | None = None
    excerpt: tuple[str, str] | None = None


class EngineCalled(Value):
    """A call of the engine, told as it is made.

    ``words`` are the nearest command that a user could type, the program first; none where no
    command does it. ``note`` says what it is for, where OBuilder makes no such call.
    ``answer`` is a line that the command would print, told by itself.
    """

    words: tuple[str, ...]
    note: str = ""
    answer: str = ""


class Warned(Value):
    message: str
    where: str | None = None


class BuildFinished(Value):
    """The last event. ``key`` is the result's, None if the build did not get to one."""

    key: str | None
    seconds: float
    hits: int = 0
    saved: int = 0


Event = (
    StageStarted
    | StageFinished
    | Heading
    | StepStarted
    | StepWaiting
    | StepExplained
    | StepOutput
    | PullProgress
    | StepHit
    | StepSaved
    | StepFailed
    | EngineCalled
    | Warned
    | BuildFinished
)

Emit = Callable[[Event], None]
