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
    "vocabulary": ("distinct words", ","),
    "distinct": ("distinct captions", ","),
    "novel": ("captions not in train", ".1%"),
    "repeats": ("with repeated bigram", ".1%"),
    "unk": ("<UNK> words", ".1%"),
}
"""The checkpoint of a model and statistics of its captions: their titles and formats."""
IN_HEADING = ("perplexity", "correct")
"""Statistics in the heading instead, if there is one column."""
WIDTH = 22
"""Minimum width of a column."""
MAX_NAME = 40
"""The longest name that is printed whole."""
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
        values = [column.get(key) for column in columns]
        if key not in without and values.count(None) < len(values):
            rows.append([title, *(missing if value is None else f"{value:{form}}" for value in values)])
    return rows


def _score(column: Mapping[str, Any], key: str) -> str:
    return f"{format_score(column[key])}  ({format_interval(column['intervals'][key])})"


def score_lines(record: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a record: a column of scores per model, then the differences."""
    others: dict[str, Any] = record["others"]
    columns = [record, *others.values()]
    yield _heading(record)
    names = [printable(name, MAX_NAME) for name in (record["name"], *others)]
    rows = [["", *names]] if others else []
    rows += score_rows(columns, "-", () if others else IN_HEADING)
    if others:
        rows.append([f"{printable(record['name'], MAX_NAME // 2)} minus", "", *names[1:]])
        for key, title in TITLES.items():
            differences = (
                f"{format_score(record[key] - x[key], '+')}  ({format_interval(x['difference'][key], '+')})"
                for x in others.values()
            )
            rows.append([title, "", *differences])
    yield from _aligned(rows)


def _heading(record: dict[str, Any]) -> str:
    heading = f"{printable(record['split'], MAX_NAME)}: {record['images']:,} images"
    if not record["others"] and record.get("perplexity") is not None:
        heading += f", perplexity {record['perplexity']:.2f}"
    if not record["others"] and record.get("correct") is not None:
        heading += f", {record['correct']:.1%} of captions fully correct"
    return heading


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    first = max(WIDTH, *(len(title) + 1 for title, *_ in rows))
    _, *widths = (max(WIDTH, *map(len, column)) for column in zip(*rows, strict=True))
    for title, *cells in rows:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"  {title:<{first}}{'  '.join(padded)}".rstrip()
