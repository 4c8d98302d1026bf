"""The report of a failed step: what failed, where, how, and the end of what it printed."""

from __future__ import annotations

from obuild.events import NEVER_BUILT, StepFailed, Warned
from obuild.progress.board import Board, StepView
from obuild.progress.output import clean, clean_lines
from obuild.progress.phrases import duration
from obuild.progress.spans import Line, Span

__all__ = ["make_report", "make_warning"]

_KEY_DIGITS = 12
_LONGEST_LINE = 2000
_COMMAND_LINES = 20


def make_report(board: Board, *, unicode: bool) -> list[Line]:
    """What is to be said of the steps that did not get through; nothing the second time.

    A step that was stopped is worth a word only if none failed, since then it was stopped
    for that. The lines are uncut: a terminal may wrap them.
    """
    ended, board.unreported = board.unreported, []
    failed = [(view, event) for view, event in ended if not event.cancelled]
    if failed:
        return [line for view, event in failed for line in _of_failed(view, event, unicode)]
    reasons = dict.fromkeys((event.message, event.hint) for _, event in ended)
    return [line for message, hint in reasons for line in _of_stopped(message, hint, unicode)]


def _of_stopped(message: str, hint: str | None, unicode: bool) -> list[Line]:
    if not message.strip():
        return []
    first, *more = clean_lines(message)
    lines: list[Line] = [(), (Span(f"{'■' if unicode else '-'} {first}", "yellow bold"),)]
    lines.extend((Span(f"  {line}"),) for line in more)
    if hint:
        lines.extend((Span("  hint     ", "dim"), Span(line)) for line in clean_lines(hint))
    return lines


def _of_failed(view: StepView, event: StepFailed, unicode: bool) -> list[Line]:
    """A blank line and some fifteen others."""
    mark, bar = ("✘", "│") if unicode else ("x", "|")
    lines: list[Line] = [(), (Span(f"{mark} {view.title or f'step {event.step}'}", "red bold"),)]
    for name, values in _facts(view, event):
        lines.append((Span(f"  {name:<8} ", "dim"), Span(values[0])))
        lines.extend((Span(" " * 11), Span(value)) for value in values[1:])
    tail = view.last_lines(len(view.tail) + 1)
    if tail:
        lines.append((Span(f"  {'output':<8} ", "dim"), Span(_portion(len(tail), view.count))))
        lines.extend((Span(f"  {bar} ", "dim"), Span(_shorten(line))) for line in tail)
        lines.append((Span("  whole log: ", "dim"), Span(f"obuild log {_prefix(view, event)}")))
    return lines


def _facts(view: StepView, event: StepFailed) -> list[tuple[str, list[str]]]:
    facts = [
        ("where", [clean(view.where)] if view.where else []),
        ("", [line for line in event.excerpt or () if line]),
        ("stage", ["/".join(view.within)] if view.within else []),
        ("why run", [reason for reason in view.reasons if reason != NEVER_BUILT]),
        ("command", _command(event.command)),
        ("failed", [_ending(event)]),
        ("error", clean_lines(event.message) if event.message.strip() else []),
        ("hint", clean_lines(event.hint) if event.hint else []),
    ]
    return [(name, values) for name, values in facts if values]


def _command(command: tuple[str, ...]) -> list[str]:
    if not command:
        return []
    lines = [_shorten(line) for line in clean_lines(" ".join(map(_quote, command)))]
    if len(lines) > _COMMAND_LINES:
        more = len(lines) - _COMMAND_LINES
        lines[_COMMAND_LINES:] = [f"… and {more} more lines"]
    return lines


def _quote(word: str) -> str:
    """``word`` for a shell; in double quotes where those leave it more readable."""
    if "'" in word and not set('"$`\\!') & set(word):
        return f'"{word}"'
    import shlex  # loads as long as the whole display, and only failures need it

    return shlex.quote(word)


def _ending(event: StepFailed) -> str:
    after = f"after {duration(event.seconds)}"
    return after if event.status is None else f"exit code {event.status}, {after}"


def _portion(shown: int, count: int) -> str:
    if shown < count:
        return f"the last {shown} of {count} lines"
    return "1 line" if shown == 1 else f"{shown} lines"


def _prefix(view: StepView, event: StepFailed) -> str:
    return clean(event.key or view.key)[:_KEY_DIGITS]


def _shorten(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def make_warning(event: Warned) -> list[Line]:
    """``warning: FILE:LINE: what``; further lines are indented."""
    first, *more = clean_lines(event.message)
    where = f"{clean(event.where)}: " if event.where else ""
    lines: list[Line] = [(Span("warning: ", "yellow bold"), Span(where + first))]
    return lines + [(Span(" " * 9 + line),) for line in more]
