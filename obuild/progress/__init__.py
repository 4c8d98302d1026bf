"""Displays: readers of the one stream of events, each in a thread of its own.

Decisions:

- A display is a *form* (``pump.Form``: take an event, draw, finish), plain code in one
  thread, and a *pump* that brings it the events of all threads. Only the pump knows threads.
- What a build prints is never passed to a terminal as it is (``output``); OBuilder's own
  output form and the logs are the exceptions, since they are what was printed.
- Lines are styled pieces of text (``spans``) until they are written. Three things are made of
  them: the terminal's, the plain and the quiet display.
- rich draws only the rows that are redrawn (``live``), and is loaded only if there are some.
- A stream that goes away silences its display and sets ``broken``. What to do about it is the
  caller's to say.
- A failed step is reported once, at the end, by every display but those for programs; who
  shows errors need not say it again.

The JSON form, one object a line, ASCII. Every object has ``event`` and ``time`` (seconds since
1970); the other fields are those of the event (``obuild.events``):

==================  =========================================================================
event               fields
==================  =========================================================================
``stage-started``   ``within`` (names of the nested builds around, outermost first)
``stage-finished``  ``within``
``heading``         ``within``, ``text``
``step-started``    ``step`` (number), ``within``, ``kind``, ``title``, ``key``, ``where``
``step-waiting``    ``step``, ``reason``
``step-explained``  ``step``, ``reasons`` (why it is not taken from the store, a text each)
``step-output``     ``step``, ``data``, ``replayed``; ``data_b64`` too if it is not UTF-8
``pull-progress``   ``step``, ``part``, ``status``, ``current``, ``total`` (bytes, or null)
``step-hit``        ``step``, ``key``, ``seconds``
``step-saved``      ``step``, ``key``, ``seconds``
``step-failed``     ``step``, ``key``, ``seconds``, ``message``, ``status``, ``command``,
                    ``cancelled``, ``hint``, ``excerpt`` (two lines, or null)
``engine-called``   ``words`` (of a command), ``note``, ``answer`` (a line that it would print)
``warned``          ``message``, ``where``
``build-finished``  ``key`` (or null), ``seconds``, ``hits``, ``saved``
==================  =========================================================================

In texts U+FFFD stands for bytes that are not UTF-8. The ``data`` of a step is cut anywhere, but
never inside a character.
"""

from __future__ import annotations

from typing import IO, Protocol

from obuild.events import Event
from obuild.progress.pump import Form, Pump
from obuild.progress.sink import Sink

__all__ = ["MODES", "Renderer", "make"]

MODES = ("auto", "tty", "plain", "json")


class Renderer(Protocol):
    @property
    def broken(self) -> bool:
        """Whether the stream went away (its reader ended, the terminal was closed)."""
        ...

    def __call__(self, event: Event) -> None:
        """Show ``event``, soon. From any thread; no exception."""
        ...

    def close(self) -> None:
        """Draw what is left and restore the terminal. Safe to call twice, at any time."""
        ...


def make(
    mode: str,
    stream: IO[str] | IO[bytes],
    *,
    color: bool,
    quiet: bool = False,
    verbose: bool = False,
    explain: bool = False,
    width: int | None = None,
) -> Renderer:
    """The display for ``stream``. ``mode`` is one of ``MODES``, anything else a ``ValueError``.

    ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere; for a terminal that cannot move
    its cursor (``TERM=dumb``) the caller says ``plain``. ``quiet``: warnings and the report of
    a failure only. ``verbose``: calls of the engine too. ``explain``: why
    each step is done that is not stored. ``width``: columns, where the
    terminal is not to be asked.
    """
    if mode not in MODES:
        raise ValueError(f"no display is called {mode!r}")
    if mode == "auto":
        mode = "tty" if stream.isatty() else "plain"
    return Pump(_make_form(mode, Sink(stream), color, quiet, verbose, explain, width))


def _make_form(
    mode: str,
    sink: Sink,
    color: bool,
    quiet: bool,
    verbose: bool,
    explain: bool,
    width: int | None,
) -> Form:
    if mode == "json":
        from obuild.progress.jsonlines import JsonForm

        return JsonForm(sink, quiet=quiet)
    if quiet:
        from obuild.progress.quiet import QuietForm

        return QuietForm(sink, color=color and mode == "tty")
    if mode == "tty":
        from obuild.progress.tty import TtyForm

        return TtyForm(sink, color=color, verbose=verbose, explain=explain, width=width)
    from obuild.progress.plain import PlainForm

    return PlainForm(sink, verbose=verbose, explain=explain)
