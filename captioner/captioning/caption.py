"""Captions: the caption of an image, its candidates, the attention weights of its words, and its next words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from captioner.arrays import Array
from captioner.decode.word_regression import Keyword

DECIMALS = 6
UNCERTAIN = "uncertain"
MARKS = {
    "outside the training domain": ("unfamiliar_below", "unlike the training images"),
    UNCERTAIN: ("uncertain_below", "may be wrong; check first"),
}
"""The marks of captions, each with the option of `decode` that is its threshold, and what it means."""
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
    caption to references; None if the model does not know them. `marks` are those of `MARKS` whose number is below its
    threshold. `keywords` are words that name what is in the image, with their expected shares, and `shares` are the
    largest expected shares of all words, for search in photographs. `digest` identifies the content of a photograph.
    Other images have neither shares nor digest.
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


def to_record(caption: Caption) -> dict[str, Any]:
    """Return the caption as a JSON object.

    `candidates` is present only if there are several, `attention` only if it was asked for.
    """
    record: dict[str, Any] = {
        "image": caption.image,
        "caption": caption.text,
        "log_prob": caption.log_prob,
        "references": caption.references,
        "correct": caption.correct,
        "familiarity": caption.familiarity,
        "similarity": caption.similarity,
        "marks": list(caption.marks),
        "keywords": [keyword._asdict() for keyword in caption.keywords],
    }
    if len(caption.candidates) > 1:
        record["candidates"] = [{"caption": text, "log_prob": log_prob} for text, log_prob in caption.candidates]
    if caption.attention is not None:
        record["attention"] = caption.attention.record()
    return record
