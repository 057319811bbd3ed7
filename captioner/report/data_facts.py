"""The data set of a report as a table."""

from __future__ import annotations

from typing import NamedTuple

from captioner.data.corpus import Corpus
from captioner.data.summary import ROWS, summarize_split
from captioner.errors import printable

MAX_NAME = 80


class DataTable(NamedTuple):
    """The splits of a data set: a title, the head, and a row per split."""

    title: str
    head: list[str]
    rows: list[list[str]]


def data_table(corpus: Corpus, name: str) -> DataTable:
    """Tabulate the splits of a data set; `name` is its kind."""
    rows = []
    for split, one in corpus.splits.items():
        facts = summarize_split(one, corpus.vocab)
        rows.append([printable(split, MAX_NAME), *(format(facts[key], spec) for key, (_, spec) in ROWS.items())])
    encoder = printable(corpus.encoder, MAX_NAME)
    title = f"Data set: {name}; image features of {encoder} ({corpus.feature_dim:,} dimensions)"
    return DataTable(title, ["split", *(title for title, _ in ROWS.values())], rows)
