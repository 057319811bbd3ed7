"""The files of results, one for each CPU (benchmarks/results-CPU.json), and Markdown tables of races."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Results: TypeAlias = dict[str, Any]
"""The `machine`, `notes` about the measurement, and the results of each benchmark by name."""


def over(race: Results, ours: str, theirs: str) -> float:
    """Return the ratio of two median times of one race."""
    return float(race[ours]["median"] / race[theirs]["median"])


def with_best(race: Results) -> Results:
    """Add the fastest float32 variant of PyTorch, if any was measured, as `best`."""
    variants = [took for name, took in race.items() if name.startswith("torch")]
    return race | {"best": min(variants, key=lambda took: took["median"])} if variants else race


def over_processes(races: Sequence[Results]) -> Results:
    """Join races of the same contenders in several processes: median of the medians, and their spread, max/min - 1."""
    joined = {}
    for name in races[0]:
        medians = [race[name]["median"] for race in races]
        joined[name] = {"median": statistics.median(medians), "spread": max(medians) / min(medians) - 1}
    return joined


def load_all(folder: Path) -> dict[str, Results]:
    """Load the results of all CPUs by the names of their files, measured last first."""
    every = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("results-*.json"))}
    return dict(sorted(every.items(), key=lambda item: item[1]["machine"]["on"], reverse=True))


def write(path: Path, results: Results) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")


def marks(part: str = "benchmark") -> tuple[str, str]:
    """Return the comments that begin and end a part of a page."""
    return f"<!-- {part}:begin -->", f"<!-- {part}:end -->"


def insert(page: str, text: str, part: str = "benchmark") -> str:
    """Return the page with `text` between the marks of a part. Raises: ValueError for a page without these marks."""
    begins, ends = marks(part)
    before, begin, rest = page.partition(begins)
    _, end, after = rest.partition(ends)
    if not end:
        raise ValueError(f"page: expected {begins} and {ends}, which enclose a table")
    return f"{before}{begin}\n{text}\n{end}{after}"


Row: TypeAlias = tuple[str, ...]


def table(head: str, rows: Iterable[Row]) -> str:
    """Return a table, or an empty text without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join((f"| {head} |", "|---" * (head.count(" | ") + 1) + "|", *lines)) if lines else ""


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean, and ± half the range if there are several values."""
    spread = f" ±{(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{spread}"


def each(values: Iterable[float], form: str) -> str:
    """Return a cell with one value per number of threads, each in this format."""
    return " / ".join(format(value, form) for value in values)


def times(races: Results, name: str) -> str:
    """Return a contender's median for each number of threads in which it was measured."""
    return each((1e3 * race[name]["median"] for race in races.values() if name in race), ".4g")


def ratios(races: Results, ours: str, theirs: str) -> str:
    """Return the ratio of two medians for each number of threads in which both were measured."""
    return each((over(race, ours, theirs) for race in races.values() if ours in race and theirs in race), ".2f")


def spreads(races: Results, *names: str) -> str:
    """Return the largest spread over processes of these contenders in percent, for each number of threads."""
    found = ([race[name]["spread"] for name in names if "spread" in race.get(name, {})] for race in races.values())
    return each((100 * max(spread) for spread in found if spread), ".0f")


def pair(title: str, races: Results, ours: str, theirs: str) -> Row:
    """Return the row of a comparison: both times, their ratio and the spread."""
    return title, times(races, ours), times(races, theirs), ratios(races, ours, theirs), spreads(races, ours, theirs)
