"""The history of a run: JSON lines with one record per logged step, validation or warning, and one of its end.

A run that is initialized from another (`train.init_from`) begins with a record of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from captioner.files.user_files import regular_file

HISTORY_LIMIT = 1 << 32
LARGEST_STEP = 1 << 53
"""Steps are smaller, so that floats represent them."""
INIT_FROM, END = "init_from", "end"
KINDS = (INIT_FROM, "step", "validation", "warning", END)
AT_END = "at_end"
"""Marks records that exist only because the run ended; `resume` removes them."""


def record_of(line: str | bytes) -> dict[str, Any] | None:
    """Return the record in a line of a history: an object with a kind and a step; None for a damaged line."""
    try:
        record = json.loads(line)
        is_step = 0 <= record["step"] < LARGEST_STEP and not isinstance(record["step"], bool)
        return record if is_step and record["kind"] in KINDS else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def records(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the record in each line of a history, None for a damaged line.

    Half a line at the end, as a kill leaves it, is left out. A file that is missing or not a regular one has no lines.
    """
    with (
        suppress(CaptionerError),
        regular_file(path, HISTORY_LIMIT) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        for line in file:
            record = record_of(line)
            if record is not None or line.endswith(b"\n"):
                yield record


def is_kept(line: str, step: int) -> bool:
    """Return whether a run that is resumed after `step` keeps a line: whole records up to it, but none of the end."""
    record = record_of(line)
    return record is not None and record["step"] <= step and record["kind"] != END and AT_END not in record


def initialization(path: Path) -> dict[str, Any] | None:
    """Return what the history recorded about `train.init_from`, if anything."""
    first = next(records(path), None) or {}
    if first.get("kind") != INIT_FROM:
        return None
    return {name: first.get(name) for name in ("checkpoint", "shared_words", "words", "dropped_words")}


def end_of(lines: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Return how a run ended, which the last record says, or an empty dict if it has not ended."""
    last: dict[str, Any] = {}
    for record in lines:
        last = record or last
    return last if last.get("kind") == END else {}


def damaged_lines(name: object, lines: Iterable[dict[str, Any] | None]) -> Iterator[str]:
    """Yield a warning about the damaged lines of a history with these `records`, if there are any."""
    numbers = [number for number, record in enumerate(lines, 1) if record is None]
    if numbers:
        yield f"{name}: damaged lines are left out: {', '.join(map(str, numbers[:5]))}{', ...' * (len(numbers) > 5)}"
