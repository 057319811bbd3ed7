"""The scores of runs as tables, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from captioner.evaluation.scoring import FEW_IMAGES
from captioner.evaluation.titles import SCORES, STATISTICS, format_interval, format_score, statistic_rows
from captioner.report.history import History

HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page, where there is one run."""
MINUS = "\N{MINUS SIGN}"


class Figure(NamedTuple):
    """A number of the header: title, value, and what stands below it."""

    title: str
    value: str
    interval: str = ""


class ScoreTable(NamedTuple):
    """Scores and statistics of the captions of a split: a row per score, a column per run."""

    note: str
    head: list[str]
    rows: list[list[str]]
    statistics: list[list[str]]


def figures_of_scores(record: Mapping[str, Any]) -> list[Figure]:
    """Return the most important scores of a run."""
    figures = [Figure(SCORES[key], score(record[key]), interval(record["intervals"][key])) for key in HEADLINES]
    for key, title in (("perplexity", "Perplexity"), ("true", "True captions")):
        if record.get(key) is not None:
            figures.append(Figure(title, f"{record[key]:{STATISTICS[key][1]}}"))
    return figures


def figures_of_history(history: History) -> list[Figure]:
    """Return the last validation of a run that is being trained."""
    if not history.validations:
        return []
    last = history.validations[-1]
    figures = []
    if _is(last, "loss"):
        figures.append(Figure("Validation loss", f"{last['loss']:.3f}", _epoch(last)))
    if _is(last, "perplexity"):
        figures.append(Figure("Perplexity", f"{last['perplexity']:.2f}"))
    scored = [record for record in history.validations if isinstance(record.get("scores"), dict) and record["scores"]]
    for key in HEADLINES if scored else ():
        if _is(scored[-1]["scores"], key):
            figures.append(Figure(SCORES[key], score(scored[-1]["scores"][key]), _epoch(scored[-1])))
    return figures


def _is(record: Mapping[str, Any], key: str) -> bool:
    return isinstance(record.get(key), float)


def _epoch(record: Mapping[str, Any]) -> str:
    return f"epoch {record['epoch']:,}" if isinstance(record.get("epoch"), int) else ""


def score_table(record: Mapping[str, Any], names: Sequence[str]) -> ScoreTable:
    """Tabulate the record of an evaluation; `names` are those of the runs."""
    columns = [record, *record["others"].values()]
    rows = [
        [title, *(f"{score(column[key])}  ({interval(column['intervals'][key])})" for column in columns)]
        for key, title in SCORES.items()
    ]
    statistics = [[title, *cells] for title, cells in statistic_rows(columns).values()]
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    note = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return ScoreTable(note, ["", *names], rows, statistics)


def score(value: float, sign: str = "") -> str:
    """Write a score times 100; with the sign `+`, a difference."""
    return format_score(value, sign).replace("-", MINUS)


def interval(bounds: Sequence[float], sign: str = "") -> str:
    """Write an interval of a score."""
    return format_interval(bounds, sign).replace("-", MINUS)
