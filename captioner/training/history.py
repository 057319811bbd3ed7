"""history.jsonl: one JSON object per logged step, validation or warning."""

from __future__ import annotations

import json

KINDS = ("step", "validation", "warning")
AT_END = "at_end"
"""Marks records that exist only because the run ended; `resume` removes them."""


def truncate(lines: str, step: int) -> str:
    """Keep the records of steps up to `step`, without those marked `at_end` and lines cut short by a kill."""
    return "".join(line for line in lines.splitlines(keepends=True) if is_kept(line, step))


def is_kept(line: str, step: int) -> bool:
    """Return whether a line is a whole record of a step up to `step`, and not marked `at_end`."""
    try:
        record = json.loads(line)
        return float(record["step"]) <= step and AT_END not in record
    except (ValueError, KeyError, TypeError):
        return False
