"""The tables of a report: scores with 95 % intervals, and the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from captioner.data.corpus import Corpus
from captioner.data.summary import ROWS, summarize_split
from captioner.errors import printable
from captioner.evaluation.score_format import SCORES, STATISTICS, format_interval, format_score, statistic_rows
from captioner.evaluation.scoring import FEW_IMAGES
from captioner.report.run_facts import History

HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page, where there is one run."""
MINUS = "\N{MINUS SIGN}"
MAX_TEXT = 80
"""Maximum characters of a name."""


class Figure(NamedTuple):
    """A number of the header: title, value, and what stands below it."""

    title: str
    value: str
    interval: str = ""


class Table(NamedTuple):
    """A table: its title, its head, and a row of cells for each score or split."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class ScoreTables(NamedTuple):
    """Scores and statistics of the captions of a split, with a column per run."""

    note: str
    scores: Table
    statistics: Table


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
    if isinstance(last.get("loss"), float):
        figures.append(Figure("Validation loss", f"{last['loss']:.3f}", _epoch(last)))
    if isinstance(last.get("perplexity"), float):
        figures.append(Figure("Perplexity", f"{last['perplexity']:.2f}"))
    scored = [record for record in history.validations if isinstance(record.get("scores"), dict) and record["scores"]]
    for last in scored[-1:]:
        scores = last["scores"]
        headlines = [key for key in HEADLINES if isinstance(scores.get(key), float)]
        figures += [Figure(SCORES[key], score(scores[key]), _epoch(last)) for key in headlines]
    return figures


def _epoch(record: Mapping[str, Any]) -> str:
    return f"epoch {record['epoch']:,}" if isinstance(record.get("epoch"), int) else ""


def score_tables(record: Mapping[str, Any], names: Sequence[str]) -> ScoreTables:
    """Tabulate the record of an evaluation; `names` are those of the runs."""
    columns, head = [record, *record["others"].values()], ["", *names]
    scores = [
        [title, *(f"{score(column[key])}  ({interval(column['intervals'][key])})" for column in columns)]
        for key, title in SCORES.items()
    ]
    statistics = [[title, *cells] for title, cells in statistic_rows(columns).values()]
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    note = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return ScoreTables(
        note, Table("Scores with 95 % intervals", head, scores), Table("Statistics of the captions", head, statistics)
    )


def difference_table(record: Mapping[str, Any], names: Sequence[str]) -> Table:
    """Tabulate the differences of the first run from the others, by the record of their evaluation."""
    first, *others = names
    rows = [
        [
            title,
            *(
                f"{score(record[key] - other[key], '+')}  ({interval(other['difference'][key], '+')})"
                for other in record["others"].values()
            ),
        ]
        for key, title in SCORES.items()
    ]
    title = "Differences with 95 % intervals of the paired bootstrap"
    return Table(title, ["", *(f"{first} minus {other}" for other in others)], rows)


def score(value: float, sign: str = "") -> str:
    """Write a score times 100; with the sign `+`, a difference."""
    return format_score(value, sign).replace("-", MINUS)


def interval(bounds: Sequence[float], sign: str = "") -> str:
    """Write an interval of a score."""
    return format_interval(bounds, sign).replace("-", MINUS)


def data_table(corpus: Corpus, name: str) -> Table:
    """Tabulate the splits of a data set; `name` is its kind."""
    rows = []
    for split_name, split in corpus.splits.items():
        facts = summarize_split(split, corpus.vocab)
        cells = (format(facts[key], spec) for key, (_, spec) in ROWS.items())
        rows.append([printable(split_name, MAX_TEXT), *cells])
    encoder = printable(corpus.encoder, MAX_TEXT)
    title = f"Data set: {name}; image features of {encoder} ({corpus.feature_dim:,} dimensions)"
    return Table(title, ["split", *(title for title, _ in ROWS.values())], rows)
