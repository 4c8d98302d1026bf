"""Times as people give and read them: a day, a time, an age. All times are UTC."""

from __future__ import annotations

import argparse
import re
import time
from calendar import timegm

__all__ = ["age_text", "parse_time"]

_AGE = re.compile(r"(\d+)\s*([smhdw])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
_STORED = "%Y-%m-%d %H:%M:%S"


def parse_time(text: str) -> str:
    """A time, or an age before now, as rows have it, for argparse."""
    match = _AGE.fullmatch(text.strip())
    if match is not None:
        ago = int(match[1]) * _SECONDS[match[2].lower()]
        if ago <= time.time():
            return time.strftime(_STORED, time.gmtime(time.time() - ago))
    wanted = text.strip().upper().removesuffix("Z").replace(" ", "T")
    for form in _FORMS:
        try:
            return time.strftime(_STORED, time.strptime(wanted, form))
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time: write 2026-11-01, 2026-11-01T12:00 (UTC), or an age as 7d or 12h"
    )


def age_text(stored: str) -> str:
    """How long ago a time of a row is, in its largest unit: ``12 d ago``."""
    try:
        seconds = time.time() - timegm(time.strptime(stored, _STORED))
    except ValueError:  # a row that another program wrote
        return f"on {stored}"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"
