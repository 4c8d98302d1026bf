"""Following a step that somebody else has in work: in another thread, or another process."""

from __future__ import annotations

from obuild.events import Emit, StepOutput, StepWaiting
from obuild.store import Follower, Store

__all__ = ["Following"]


class Following:
    """Shows the log of the step ``key``, from its beginning, while another builds it.

    A step that has a row is not being built, whoever holds its lock: then nothing is shown.
    """

    def __init__(self, store: Store, key: str, step: int, emit: Emit):
        self.shown = False
        """Whether the output of the step has been shown by this."""
        self._store = store
        self._key = key
        self._step = step
        self._emit = emit
        self._follower: Follower | None = None

    def begin(self) -> None:
        """The step has to wait for another's."""
        self._emit(StepWaiting(self._step, "another build is doing this step"))
        if self._store.row(self._key) is None:
            self._follower = self._store.follow_log(self._key)

    def go_on(self) -> None:
        """Show what was written since the last call."""
        if self._follower is not None and (data := self._follower.read()):
            self.shown = True
            self._emit(StepOutput(self._step, data))

    def finish(self) -> None:
        """The other got through: show the rest."""
        if self._follower is not None:
            self.go_on()
            self.shown = True

    def take_over(self) -> None:
        """The other did not get through: the step begins anew, here."""
        if self._follower is not None:
            self.go_on()
            reason = "the other build did not get through; this one does the step now"
            self._emit(StepWaiting(self._step, reason))

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()
