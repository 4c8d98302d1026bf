"""Which snapshots go when a store is pruned, and why each goes or stays. Nothing is done here.

As in OBuilder, only what nothing stands on can go, that whose use is longest ago first, and
a parent comes into question once its last child is gone. OBuilder goes through all leaves
before it looks at their parents; here the parent of what went is at once a candidate like any
other, so that a chain that is long out of use goes before what was used today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from obuild.store.rows import Row
from obuild.values import Value

__all__ = ["Conditions", "Verdict", "judge"]


class Conditions(Value):
    """What has to hold for a snapshot to go; None: nothing.

    ``before``: it was last used before that time (UTC, ``YYYY-MM-DD HH:MM:SS``). ``most``: no
    more than that many go. ``keep``: all snapshots that are left hold more than that many
    bytes.
    """

    before: str | None = None
    most: int | None = None
    keep: int | None = None


class Verdict(Value):
    """What becomes of a row, and why, in the user's words."""

    row: Row
    goes: bool
    why: str


def judge(
    rows: Sequence[Row],
    links: Mapping[str, str | None],
    held: Callable[[str, str], str],
    sizes: Mapping[str, int],
    conditions: Conditions,
) -> list[Verdict]:
    """A verdict for each row: first those that go, in the order in which they can, then the
    others, the one whose use is longest ago first.

    ``rows`` come in that order, too. ``links``: every row's parent. ``held``: why a key, last
    used at a time, must stay (see ``Holds.reason``). ``sizes``: bytes of each row's own.
    """
    by_key = {row.id: place for place, row in enumerate(rows)}
    children: dict[str, set[str]] = {}
    for child, parent in links.items():
        if parent in by_key and child in by_key:
            children.setdefault(parent, set()).add(child)
    leaves = [place for place, row in enumerate(rows) if not children.get(row.id)]
    heapify(leaves)
    left = sum(sizes.get(row.id, 0) for row in rows)
    going: list[Verdict] = []
    staying: dict[str, str] = {}
    while leaves:
        row = rows[heappop(leaves)]
        why = held(row.id, row.used) or _refusal(row, conditions, len(going), left)
        if why:
            staying[row.id] = why
            continue
        going.append(Verdict(row, True, _cause(row, conditions)))
        left -= sizes.get(row.id, 0)
        parent = links.get(row.id)
        if parent in by_key:
            children[parent].discard(row.id)
            if not children[parent]:
                heappush(leaves, by_key[parent])
    gone = {verdict.row.id for verdict in going}
    kept = [
        Verdict(row, False, staying.get(row.id) or _stood_on(children[row.id]))
        for row in rows
        if row.id not in gone
    ]
    return going + kept


def _refusal(row: Row, conditions: Conditions, number: int, left: int) -> str:
    """Which condition keeps the row; ``number`` go already, ``left`` bytes are left."""
    if conditions.before is not None and row.used >= conditions.before:
        return f"used since {conditions.before}"
    if conditions.most is not None and number >= conditions.most:
        return f"{conditions.most} go already"
    if conditions.keep is not None and left <= conditions.keep:
        return "what is left is small enough"
    return ""


def _cause(row: Row, conditions: Conditions) -> str:
    if conditions.before is not None:
        return f"last used on {row.used}, before {conditions.before}"
    return f"last used on {row.used}, longer ago than what stays"


def _stood_on(children: set[str]) -> str:
    first = min(children)[:12]
    if len(children) == 1:
        return f"{first} stands on it"
    return f"{first} and {len(children) - 1} more stand on it"
