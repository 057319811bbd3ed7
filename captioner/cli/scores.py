"""The scores of captions as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from captioner.evaluation.titles import SCORES, STATISTICS
from captioner.printable import printable

IN_HEADING = ("perplexity", "true")
"""Statistics in the heading instead, if there is one column."""
WIDTH = 22
"""Minimum width of a column."""
LONGEST = 40
"""Maximum characters of a name."""
Row = tuple[str, list[str]]
"""A title and the cells of the columns."""


def score_lines(record: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a record: a column of scores per model, file or baseline, then the differences."""
    others: dict[str, Any] = record["others"]
    columns = [record, *others.values()]
    yield _heading(record, is_alone=not others)
    names = [printable(name, LONGEST) for name in (record["name"], *others)]
    rows: list[Row] = [("", names)] if others else []
    for key, title in SCORES.items():
        rows.append((title, [_score(one[key], one["intervals"][key]) for one in columns]))
    for key, (title, spec) in STATISTICS.items():
        if any(one.get(key) is not None for one in columns) and (others or key not in IN_HEADING):
            rows.append((title, [_statistic(one.get(key), spec) for one in columns]))
    if others:
        rows.append((f"{printable(record['name'], LONGEST // 2)} minus", ["", *names[1:]]))
        for key, title in SCORES.items():
            differences = (_score(record[key] - one[key], one["difference"][key], "+") for one in others.values())
            rows.append((title, ["", *differences]))
    yield from _aligned(rows)


def worst_lines(worst: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield lines of cells: image, caption and CIDEr-D, then the references."""
    for entry in worst:
        yield entry["image"], entry["caption"], f"{100 * entry['cider_d']:.1f}"
        for reference in entry["references"]:
            yield "", f"  {' '.join(reference.split())}"


def _heading(record: dict[str, Any], is_alone: bool) -> str:
    heading = f"{printable(record['split'], LONGEST)}: {record['images']:,} images"
    if is_alone and record.get("perplexity") is not None:
        heading += f", perplexity {record['perplexity']:.2f}"
    if is_alone and record.get("true") is not None:
        heading += f", {record['true']:.1%} of captions true"
    return heading


def _score(value: float, bounds: Sequence[float], sign: str = "") -> str:
    # + 0.0 turns -0.0 into 0.0
    first, *interval = (f"{round(100 * number, 1) + 0.0:{sign}.1f}" for number in (value, *bounds))
    return f"{first}  ({' to '.join(interval)})"


def _statistic(value: float | None, spec: str) -> str:
    return "-" if value is None else f"{value:{spec}}"


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    first = max(WIDTH, *(len(title) + 1 for title, _ in rows))
    widths = [max(WIDTH, *map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    for title, cells in rows:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"  {title:<{first}}{'  '.join(padded)}".rstrip()
