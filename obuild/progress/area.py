"""The live part of the terminal display: the steps in work and the end of their output.

The area must never be taller than the screen, since a terminal cannot take back a line that
scrolled off: every step gets its own row first, then rows of output as far as there is room.
"""

from __future__ import annotations

from obuild.progress.board import Board, StepView
from obuild.progress.phrases import duration, name_stage
from obuild.progress.pull import Pull
from obuild.progress.spans import Line, Span, cells, cut, justify
from obuild.values import Value

__all__ = ["Look", "head", "rows"]

_MOST_ROWS = 24
_MOST_OUTPUT = 6
_FRAMES_A_SECOND = 10


class Look(Value):
    """The characters of the display, as far as the stream's encoding has them."""

    good: str = "✔"
    bad: str = "✘"
    stopped: str = "■"
    spinner: str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    gutter: str = "│"
    done: str = "━"
    todo: str = "─"
    ellipsis: str = "…"
    dot: str = "·"

    @staticmethod
    def of(unicode: bool) -> Look:
        if unicode:
            return Look()
        return Look("+", "x", "-", "|/-\\", "|", "=", "-", "~", "-")


def head(mark: Span, view: StepView, right: Span, width: int, look: Look) -> Line:
    """The one line of a step."""
    stage = Span(name_stage(view.within), "cyan")
    left = (mark, Span(" "), stage, Span(view.title or f"step {view.number}"))
    return justify(left, right, width, look.ellipsis)


def rows(board: Board, now: float, since: float, size: tuple[int, int], look: Look) -> list[Line]:
    """At most ``size`` (columns, rows) less some: what is in work at the time ``now``."""
    width, height = size[0] - 1, max(1, min(_MOST_ROWS, size[1] - 2))
    footer = [_footer(board, now - since, width, look)] if height >= 5 else []
    room = height - len(footer)
    views = list(board.running.values())
    shown = views if len(views) <= room else views[: max(0, room - 1)]
    details = _share(shown, room - len(views), width, look)
    lines: list[Line] = []
    for view, detail in zip(shown, details, strict=True):
        lines.append(_running(view, now, width, look))
        lines.extend(detail)
    if len(shown) < len(views):
        more = f"{look.ellipsis} {len(views) - len(shown)} more in work"
        lines.append(cut((Span(more, "dim"),), width, look.ellipsis))
    return lines + footer


def _running(view: StepView, now: float, width: int, look: Look) -> Line:
    frame = int(now * _FRAMES_A_SECOND) % len(look.spinner)
    elapsed = Span(duration(now - view.since), "dim")
    return head(Span(look.spinner[frame], "yellow"), view, elapsed, width, look)


def _share(views: list[StepView], spare: int, width: int, look: Look) -> list[list[Line]]:
    """The detail rows of each step: ``spare`` rows dealt out one by one."""
    wanted = [_details(view, width, look) for view in views]
    dealt = [0] * len(views)
    while spare > 0 and any(len(w) > d for w, d in zip(wanted, dealt, strict=True)):
        for i, lines in enumerate(wanted):
            if dealt[i] < len(lines) and spare > 0:
                dealt[i] += 1
                spare -= 1
    return [lines[len(lines) - d :] for lines, d in zip(wanted, dealt, strict=True)]


def _details(view: StepView, width: int, look: Look) -> list[Line]:
    gutter = Span(f"  {look.gutter} ", "dim")
    if view.waiting:
        return [cut((gutter, Span(f"waiting: {view.waiting}", "yellow")), width, look.ellipsis)]
    if view.pull:
        return [cut((gutter, *_pulling(view.pull, width, look)), width, look.ellipsis)]
    lines = view.last_lines(_MOST_OUTPUT)
    return [cut((gutter, Span(line, "dim")), width, look.ellipsis) for line in lines]


def _pulling(pull: Pull, width: int, look: Look) -> Line:
    fraction = pull.fraction
    length = min(30, width - 5 - cells(pull.text))  # 5: the gutter, and a blank after the bar
    if fraction is None or length < 8:
        return (Span(pull.text, "dim"),)
    done = round(length * min(1.0, fraction))
    todo = length - done
    return (Span(look.done * done, "green"), Span(f"{look.todo * todo} {pull.text}", "dim"))


def _footer(board: Board, seconds: float, width: int, look: Look) -> Line:
    counts = [(board.hits, "cached"), (board.saved, "built"), (board.failed, "failed")]
    counts.append((len(board.running), "in work"))
    words = [f"{count} {word}" for count, word in counts if count]
    text = f" {look.dot} ".join([*words, duration(seconds)])
    return cut((Span(text, "dim"),), width, look.ellipsis)
