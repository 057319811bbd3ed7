"""Captions: the caption of an image, its candidates, the attention weights of its words, and its next words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.config.options import Decode
from captioner.decode.word_regression import Keyword

DECIMALS = 6
NOT_MARKED = "not marked"


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention weights with which each word of a caption was predicted; of an ensemble, their mean.

    A row of `weights` has the weights of the L regions in reading order, then that of the sentinel; its sum is 1. The
    regions form a `grid` (rows, columns).

    Shapes: T words, weights (T, L + 1).
    """

    words: Sequence[str]
    weights: Array
    grid: tuple[int, int]

    @property
    def maps(self) -> Array:
        """The weights of the regions as grids. Shapes: (T, rows, columns)."""
        return self.weights[:, :-1].reshape(-1, *self.grid)

    @property
    def sentinel(self) -> Array:
        """The weights of the sentinel. Shapes: (T,)."""
        return self.weights[:, -1]

    def record(self) -> dict[str, Any]:
        """Return the words, the grid and the rounded weights as a JSON object."""
        return {
            "words": list(self.words),
            "grid": list(self.grid),
            "weights": self.maps.astype(float).round(DECIMALS).tolist(),
            "sentinel": self.sentinel.astype(float).round(DECIMALS).tolist(),
        }


class Candidate(NamedTuple):
    """A caption and its log-probability: natural, of the whole caption, without length normalization."""

    text: str
    log_prob: float


class Caption(NamedTuple):
    """The best caption of an image, with its reference captions if they are known.

    `correct` says whether the caption is fully correct, or is None if the data set cannot check it. `candidates` are
    the n best captions, best first; the first of them is the caption itself. `attention` has the attention weights of
    the caption's words, if they were asked for.

    `familiarity` is the percentile of the image among training images, and `similarity` the expected similarity of the
    caption to references; None if the model does not know them. `marks` are names of `MARKS`. `keywords` are words that
    name what is in the image, with their expected shares, and `shares` are the largest expected shares of all words,
    for search in photographs. `digest` identifies the picture of a photograph. Other images have neither shares nor
    digest.
    """

    image: str
    text: str
    log_prob: float
    references: list[str]
    correct: bool | None
    candidates: list[Candidate]
    attention: Attention | None = None
    familiarity: float | None = None
    similarity: float | None = None
    marks: Sequence[str] = ()
    keywords: Sequence[Keyword] = ()
    shares: Sequence[Keyword] = ()
    digest: str = ""


class NextWord(NamedTuple):
    """A word that may come next, and its probability."""

    word: str
    probability: float


class NextWords(NamedTuple):
    """The most probable next words of a caption, best first.

    `attention` has the weights with which the next word is predicted, whichever it is; None for a model without it.
    """

    candidates: list[NextWord]
    attention: Attention | None = None


class Mark(NamedTuple):
    """A warning about captions with a number below a threshold: the option of `decode`, and what the mark means.

    Captions without the number are not marked.
    """

    number: Callable[[Caption], float | None]
    threshold: str
    meaning: str


UNCERTAIN = "uncertain"
MARKS: Mapping[str, Mark] = {
    "outside the training domain": Mark(
        lambda caption: caption.familiarity, "unfamiliar_below", "unlike the training images"
    ),
    UNCERTAIN: Mark(lambda caption: caption.similarity, "uncertain_below", "may be wrong; check first"),
}
"""The marks of captions."""
MARKS_VERSION = 1
"""To be increased when a mark gets another meaning: captions with other marks are counted as such."""


def marks_of(caption: Caption, options: Decode) -> list[str]:
    """Return the marks of a caption with the options of the section `decode`."""
    numbers = {name: (mark.number(caption), getattr(options, mark.threshold)) for name, mark in MARKS.items()}
    return [name for name, (number, threshold) in numbers.items() if number is not None and number < threshold]


class Column(NamedTuple):
    """What files have of a caption under one name.

    `value` is that of JSON objects, without the key if it is None and `optional`; `cell` is that of tables, which lack
    the column without it. The album page has the column if it is `on_page`.
    """

    value: Callable[[Caption], Any]
    cell: Callable[[Caption], str | float] | None = None
    optional: bool = False
    on_page: bool = False


def _number(value: float | None, decimals: int) -> str | float:
    return "" if value is None else round(value, decimals)


COLUMNS: Mapping[str, Column] = {
    "image": Column(lambda c: c.image, lambda c: c.image),
    "caption": Column(lambda c: c.text, lambda c: c.text, on_page=True),
    "keywords": Column(
        lambda c: [keyword._asdict() for keyword in c.keywords],
        lambda c: ", ".join(keyword.word for keyword in c.keywords),
        on_page=True,
    ),
    "marks": Column(lambda c: list(c.marks), lambda c: ", ".join(c.marks), on_page=True),
    "log_prob": Column(lambda c: c.log_prob, lambda c: round(c.log_prob, 4)),
    "familiarity": Column(lambda c: c.familiarity, lambda c: _number(c.familiarity, 1)),
    "similarity": Column(lambda c: c.similarity, lambda c: _number(c.similarity, 4), on_page=True),
    "references": Column(lambda c: c.references),
    "correct": Column(lambda c: c.correct),
    "candidates": Column(
        lambda c: [{"caption": text, "log_prob": p} for text, p in c.candidates] if len(c.candidates) > 1 else None,
        optional=True,
        on_page=True,
    ),
    "attention": Column(lambda c: c.attention and c.attention.record(), optional=True, on_page=True),
}
"""The columns of tables and the keys of JSON objects, in their order."""
TABLE_COLUMNS = {name: column.cell for name, column in COLUMNS.items() if column.cell}
"""The columns of tables."""


def from_record(record: Mapping[str, Any]) -> Caption:
    """Return the caption of a JSON object of `to_record`, without shares and digest."""
    attention, candidates = record.get("attention"), record.get("candidates") or []
    if attention:
        rows, columns = attention["grid"]
        weights = np.array(attention["weights"]).reshape(len(attention["words"]), rows * columns)
        weights = np.column_stack([weights, attention["sentinel"]])
        attention = Attention(attention["words"], weights, (rows, columns))
    best = Candidate(record["caption"], record["log_prob"])
    fields = ("references", "correct", "familiarity", "similarity", "marks")
    return Caption(
        record["image"], *best, **{name: record[name] for name in fields}, attention=attention,
        candidates=[Candidate(each["caption"], each["log_prob"]) for each in candidates] or [best],
        keywords=[Keyword(**keyword) for keyword in record["keywords"]],
    )  # fmt: skip


def to_record(caption: Caption) -> dict[str, Any]:
    """Return the caption as a JSON object."""
    values = {name: column.value(caption) for name, column in COLUMNS.items()}
    return {name: value for name, value in values.items() if value is not None or not COLUMNS[name].optional}
