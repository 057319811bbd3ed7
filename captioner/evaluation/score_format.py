"""Scores and statistics as text, for the command line and reports: the rows of a table, and the table of a record."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from captioner.errors import printable
from captioner.metrics import TITLES

STATISTICS: Mapping[str, tuple[str, str]] = {
    "checkpoint": ("checkpoint", ""),
    "perplexity": ("perplexity", ".2f"),
    "correct": ("captions fully correct", ".1%"),
    "pointing": ("pointing accuracy", ".1%"),
    "mean_length": ("words per caption", ".1f"),
    "vocabulary": ("distinct words", ",.0f"),
    "distinct": ("distinct captions", ",.0f"),
    "novel": ("captions not in train", ".1%"),
    "repeats": ("with repeated bigram", ".1%"),
    "unk": ("<UNK> words", ".1%"),
}
"""The checkpoint of a model and statistics of its captions: their titles and formats."""
IN_HEADING = ("perplexity", "correct")
"""Statistics in the heading instead, if there is one column."""
WIDTH = 22
"""Minimum width of a column."""
MAX_NAME, MAX_SOURCE = 40, 40
"""Maximum characters of a name, and of the name of a source."""
Columns = Sequence[Mapping[str, Any]]
"""Records of scores, each of which is a column of a table."""
Row = list[str]
"""A title, then the cells of the columns."""


def format_score(value: float, sign: str = "") -> str:
    """Write a score times 100; with the sign `+`, a difference."""
    return f"{round(100 * value, 1) + 0.0:{sign}.1f}"  # + 0.0 turns -0.0 into 0.0


def format_interval(bounds: Sequence[float], sign: str = "") -> str:
    """Write the interval of a score."""
    return " to ".join(format_score(bound, sign) for bound in bounds)


def score_rows(columns: Columns, missing: str = "", without: Container[str] = ()) -> list[Row]:
    """Return a row for each score with its interval, for the images with each mark, and for each statistic that is
    known for any column.
    """
    rows = [[title, *(_score(column, key) for column in columns)] for key, title in TITLES.items()]
    for mark in dict.fromkeys(mark for column in columns for mark in column.get("scores_by_mark", {})):
        scored = [column.get("scores_by_mark", {}).get(mark) for column in columns]
        cells = [f"{_score(x, 'cider_d')}, {x['images']:,} images" if x else missing for x in scored]
        rows.append([f"CIDEr-D, {mark.removesuffix(' the training domain')}", *cells])
    for key, (title, form) in STATISTICS.items():
        if key not in without and any(column.get(key) is not None for column in columns):
            rows.append([title, *(_statistic(column, key, form) or missing for column in columns)])
    return rows


def _score(column: Mapping[str, Any], key: str) -> str:
    spread = f" ±{format_score(column['half_range'][key])}" if "half_range" in column else ""
    return f"{format_score(column[key])}{spread}  ({format_interval(column['intervals'][key])})"


def _statistic(column: Mapping[str, Any], key: str, form: str) -> str:
    parts = (column, column.get("half_range", {}))
    return " ±".join(f"{part[key]:{form}}" for part in parts if part.get(key) is not None)


def score_lines(record: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a record: a column of scores per model or baseline, then the differences.

    The tables of its sources follow.
    """
    others: dict[str, Any] = record["others"]
    columns = [record, *others.values()]
    is_alone = not others and "half_range" not in record
    yield _heading(record, is_alone)
    names = [printable(name, MAX_NAME) for name in (record["name"], *others)]
    rows = [["", *names]] if others else []
    rows += score_rows(columns, "-", IN_HEADING if is_alone else ())
    if others:
        rows.append([f"{printable(record['name'], MAX_NAME // 2)} minus", "", *names[1:]])
        for key, title in TITLES.items():
            differences = (
                f"{format_score(record[key] - x[key], '+')}  ({format_interval(x['difference'][key], '+')})"
                for x in others.values()
            )
            rows.append([title, "", *differences])
    yield from _aligned(rows)
    for source, part in record.get("sources", {}).items():
        yield from score_lines({**part, "split": f"{record['split']}, {source}"})


def _heading(record: dict[str, Any], is_alone: bool) -> str:
    heading = f"{printable(record['split'], MAX_NAME)}: {record['images']:,} images"
    if "half_range" in record:
        heading += f", {record['name']} ± half the range"
    if "sources" in record:
        heading += f", mean of {len(record['sources'])} sources"
    if is_alone and record.get("perplexity") is not None:
        heading += f", perplexity {record['perplexity']:.2f}"
    if is_alone and record.get("correct") is not None:
        heading += f", {record['correct']:.1%} of captions fully correct"
    return heading


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    first = max(WIDTH, *(len(title) + 1 for title, *_ in rows))
    _, *widths = (max(WIDTH, *map(len, column)) for column in zip(*rows, strict=True))
    for title, *cells in rows:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"  {title:<{first}}{'  '.join(padded)}".rstrip()
