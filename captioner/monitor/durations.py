"""Write times and durations as people read them."""

from __future__ import annotations

import time

UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def duration(seconds: float) -> str:
    """Write a duration with its two largest units, such as `2 h 5 min` or `40 s`."""
    whole = max(0, round(seconds))
    for place, (size, unit) in enumerate(UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            smaller, name = UNITS[place + 1] if place + 1 < len(UNITS) else (1, "s")
            return f"{count} {unit} {rest // smaller} {name}"
    return f"{whole} s"


def clock(seconds: float, now: float) -> str:
    """Write a time since the epoch as local time, with its date if it is not today."""
    then, today = time.localtime(seconds), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)
