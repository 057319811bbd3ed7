"""Markdown tables of races: rows, times and ratios for each number of threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from benchmarks.results import Results
from benchmarks.targets import over

Row: TypeAlias = tuple[str, ...]


def table(head: str, rows: Iterable[Row]) -> str:
    """Return a table, or an empty text without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join((f"| {head} |", "|---" * (head.count(" | ") + 1) + "|", *lines)) if lines else ""


def milliseconds(took: Results) -> str:
    return f"{1e3 * took['median']:.4g}"


def times(races: Results, name: str, unit: float = 1e3) -> str:
    """Return a contender's median for each number of threads in which it was measured."""
    return " / ".join(f"{unit * race[name]['median']:.4g}" for race in races.values() if name in race)


def ratios(races: Results, ours: str, theirs: str) -> str:
    """Return the ratio of two medians for each number of threads in which both were measured."""
    return " / ".join(f"{over(race, ours, theirs):.2f}" for race in races.values() if ours in race and theirs in race)


def pair(title: str, races: Results, ours: str, theirs: str, unit: float = 1e3) -> Row:
    """Return the row of a comparison: both times and their ratio."""
    return title, times(races, ours, unit), times(races, theirs, unit), ratios(races, ours, theirs)
