"""Scores of captions against references: BLEU, ROUGE-L, CIDEr-D and statistics of the wording."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from captioner.arrays import Array
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import UNK, normalize
from captioner.metrics import (
    NAMES,
    confidence_interval,
    diversity,
    fraction,
    novelty,
    ptb_tokenize,
    score_rows,
    scores_by_name,
)

FEW_IMAGES = 30
"""With fewer images than this, a bootstrap interval is unreliable."""


@dataclass(frozen=True)
class EvaluationSet:
    """Images, their reference captions, and all captions of the training split if there is one.

    If `normalized`, captions and references are compared in the Unicode form of tokens. pycocoevalcap does not
    normalize them.
    """

    images: list[str]
    references: list[list[str]]
    train_captions: list[str] | None = None
    normalized: bool = True

    def tokenize(self, text: str) -> list[str]:
        """Split a text into the tokens of the metrics."""
        return ptb_tokenize(normalize(text) if self.normalized else text)

    @cached_property
    def reference_words(self) -> list[list[list[str]]]:
        """The references as tokens of the metrics."""
        return [list(map(self.tokenize, references)) for references in self.references]

    @cached_property
    def train_words(self) -> list[list[str]] | None:
        """The training captions as tokens of the metrics."""
        return None if self.train_captions is None else list(map(self.tokenize, self.train_captions))


def build_evaluation_set(corpus: Corpus, name: str) -> tuple[EvaluationSet, Array]:
    """Return the images of a split that have references, and their rows in the split.

    Raises: DataError when the split does not exist.
    """
    split, vocab, train = corpus.split(name), corpus.vocab, corpus.splits.get("train")
    rows = split.captioned_images
    images = [split.image_ids[row] for row in rows]
    references = [split.references(row, vocab) for row in rows.tolist()]
    train_captions = None if train is None else [train.text(row, vocab) for row in range(len(train.captions))]
    return EvaluationSet(images, references, train_captions), rows


@dataclass(frozen=True)
class ScoredCaptions:
    """One caption per image with its statistics per metric (`rows`), and all scores by name (`scores`).

    `name` is that of the run or the file that the captions are from.

    Shapes: rows (N, S).
    """

    name: str
    captions: list[str]
    rows: Array
    scores: dict[str, Any]


def score_captions(
    evaluation_set: EvaluationSet, name: str, captions: Sequence[str], same_train: bool = True, **computed: Any
) -> ScoredCaptions:
    """Score one caption per image; `computed` are scores computed elsewhere, listed first.

    BLEU, ROUGE-L, CIDEr-D, then: mean caption length, vocabulary size, number of distinct captions, and the fractions
    of captions that repeat a bigram, of words that are `<UNK>`, and of captions that are not in the training split.
    The last is None for captions of a model that was trained on another split: `same_train` is False.
    """
    tokenized = list(map(evaluation_set.tokenize, captions))
    words = [word for caption in tokenized for word in caption]
    rows = score_rows(tokenized, evaluation_set.reference_words)
    scores = {
        **computed,
        **scores_by_name(rows),
        **diversity(tokenized),
        "unk": fraction(words.count(UNK.lower()), words),
    }
    if not same_train:
        scores["novel"] = None
    elif evaluation_set.train_words is not None:
        scores["novel"] = novelty(tokenized, evaluation_set.train_words)
    return ScoredCaptions(name, list(captions), rows, scores)


def scores_of_part(rows: Array) -> dict[str, Any]:
    """Compute the scores of some images from their rows of statistics, with intervals.

    The IDF is that of all images.

    Shapes: rows (N, S).
    """
    bounds = dict(zip(NAMES, confidence_interval(rows).T.tolist(), strict=True))
    return {"images": len(rows), **scores_by_name(rows), "intervals": bounds}


def intervals(scored: ScoredCaptions, other: ScoredCaptions | None = None) -> dict[str, list[float]]:
    """Compute the 95 % bootstrap interval of each score, or of its difference from the score of other captions."""
    bounds = confidence_interval(scored.rows, None if other is None else other.rows)
    return dict(zip(NAMES, bounds.T.tolist(), strict=True))


def to_dict(scored: ScoredCaptions, others: Sequence[ScoredCaptions] = ()) -> dict[str, Any]:
    """Convert scores to JSON types, with those of other captions and the differences from them by name."""
    count = len(scored.rows)
    compared: dict[str, Any] = {}
    for other in others:
        name = next(name for name in distinct(other.name) if name not in (scored.name, *compared))
        compared[name] = {**other.scores, "intervals": intervals(other), "difference": intervals(scored, other)}
    sizes = {f"{count:,} images": count}
    if count >= FEW_IMAGES:
        for column in (scored, *others):
            parts = column.scores.get("scores_by_mark", {})
            sizes |= {f"{part['images']:,} images {name}": part["images"] for name, part in parts.items()}
    return {
        "name": scored.name,
        "images": count,
        **scored.scores,
        "intervals": intervals(scored),
        "others": compared,
        "warnings": ["CIDEr-D needs at least 2 images: that of a single image is 0"]
        if count == 1
        else [
            f"{images}; confidence intervals from fewer than {FEW_IMAGES} images are unreliable"
            for images, size in sizes.items()
            if size < FEW_IMAGES
        ],
    }


def distinct(name: str) -> Iterator[str]:
    """Yield a name, then numbered variants of it."""
    yield name
    yield from (f"{name} ({number})" for number in itertools.count(2))
