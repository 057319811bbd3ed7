"""Markdown tables of races: rows, times and ratios for each number of threads."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from benchmarks.results import Results, over

Row: TypeAlias = tuple[str, ...]


def table(head: str, rows: Iterable[Row]) -> str:
    """Return a table, or an empty text without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join((f"| {head} |", "|---" * (head.count(" | ") + 1) + "|", *lines)) if lines else ""


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean, and ± half the range if there are several values."""
    spread = f" ±{(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{spread}"


def milliseconds(took: Results) -> str:
    return f"{1e3 * took['median']:.4g}"


def each(values: Iterable[float], form: str) -> str:
    """Return a cell with one value per number of threads, each in this format."""
    return " / ".join(format(value, form) for value in values)


def times(races: Results, name: str, unit: float = 1e3) -> str:
    """Return a contender's median for each number of threads in which it was measured."""
    return each((unit * race[name]["median"] for race in races.values() if name in race), ".4g")


def ratios(races: Results, ours: str, theirs: str) -> str:
    """Return the ratio of two medians for each number of threads in which both were measured."""
    return each((over(race, ours, theirs) for race in races.values() if ours in race and theirs in race), ".2f")


def pair(title: str, races: Results, ours: str, theirs: str, unit: float = 1e3) -> Row:
    """Return the row of a comparison: both times and their ratio."""
    return title, times(races, ours, unit), times(races, theirs, unit), ratios(races, ours, theirs)
