"""The tables of a report: scores with 95 % intervals, and the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from captioner.data.corpus import Corpus
from captioner.data.summary import ROWS, summarize_split
from captioner.errors import printable
from captioner.evaluation.score_format import SCORES, STATISTICS, format_interval, format_score, statistic_rows
from captioner.evaluation.scoring import FEW_IMAGES

HEADLINES = ("cider_d", "bleu4", "rouge_l")
"""The scores in the header of the page."""
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
    """Scores and statistics of the captions of a split."""

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


def score_tables(record: Mapping[str, Any], name: str) -> ScoreTables:
    """Tabulate the record of an evaluation; `name` is that of the run."""
    scores = [[title, f"{score(record[key])}  ({interval(record['intervals'][key])})"] for key, title in SCORES.items()]
    statistics = [[title, *cells] for title, cells in statistic_rows([record]).values()]
    head = ["", name]
    few = f" Intervals from fewer than {FEW_IMAGES} images are unreliable." if record["images"] < FEW_IMAGES else ""
    note = (
        f"Scores of {record['images']:,} images of {record['split']}, multiplied by 100 (CIDEr-D has no maximum of "
        f"100), with 95 % bootstrap intervals over the images.{few}"
    )
    return ScoreTables(
        note, Table("Scores with 95 % intervals", head, scores), Table("Statistics of the captions", head, statistics)
    )


def score(value: float) -> str:
    """Write a score times 100."""
    return format_score(value).replace("-", MINUS)


def interval(bounds: Sequence[float]) -> str:
    """Write an interval of a score."""
    return format_interval(bounds).replace("-", MINUS)


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
