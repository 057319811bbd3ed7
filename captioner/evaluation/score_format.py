"""Scores and statistics as text: titles and formats, for the command line, reports and model cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captioner.errors import printable

MAX_SOURCE = 40
"""Maximum characters of the name of a source."""
SCORES: Mapping[str, str] = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
}
"""Metrics that are shown times 100, with confidence intervals if there are any."""
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


def score_columns(record: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return titles and scores of a record: `name`, or the mean of the sources, and each source."""
    sources = record.get("sources", {})
    whole = f"{name}, mean of {len(sources)} sources" if sources else name
    return [(whole, record), *((f"{name}, {printable(source, MAX_SOURCE)}", part) for source, part in sources.items())]


def format_score(value: float, sign: str = "") -> str:
    """Write a score times 100; with the sign `+`, a difference."""
    return f"{round(100 * value, 1) + 0.0:{sign}.1f}"  # + 0.0 turns -0.0 into 0.0


def format_interval(bounds: Sequence[float], sign: str = "") -> str:
    """Write the interval of a score."""
    return " to ".join(format_score(bound, sign) for bound in bounds)


def statistic_rows(columns: Sequence[Mapping[str, Any]], missing: str = "") -> dict[str, tuple[str, list[str]]]:
    """Return the title and the cells of each statistic that is known for any column, by its key."""

    def cell(column: Mapping[str, Any], key: str, form: str) -> str:
        return " ±".join(f"{part[key]:{form}}" for part in (column, column.get("half_range", {})) if key in part)

    return {
        key: (title, [missing if column.get(key) is None else cell(column, key, form) for column in columns])
        for key, (title, form) in STATISTICS.items()
        if any(column.get(key) is not None for column in columns)
    }
