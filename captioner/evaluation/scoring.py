"""Scores of captions against references: BLEU, ROUGE-L, CIDEr-D, perplexity and statistics of the wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.batches import sequential_batches
from captioner.data.corpus import Corpus
from captioner.inference.captioner import BATCH, Captioner
from captioner.metrics import (
    NAMES,
    confidence_interval,
    diversity,
    fraction,
    novelty,
    score_rows,
    scores_by_name,
    scores_from_sums,
    tokenize,
)
from captioner.model.perplexity import mean_word_loss, perplexity
from captioner.parallel.thread_pool import ThreadPool
from captioner.text.vocabulary import UNK


@dataclass(frozen=True)
class EvaluationSet:
    """Images, their reference captions, and all captions of the training split if there is one."""

    images: list[str]
    references: list[list[str]]
    train_captions: list[str] | None = None

    @cached_property
    def reference_words(self) -> list[list[list[str]]]:
        """The references as tokens of the metrics."""
        return [list(map(tokenize, references)) for references in self.references]

    @cached_property
    def train_words(self) -> list[list[str]] | None:
        """The training captions as tokens of the metrics."""
        return None if self.train_captions is None else list(map(tokenize, self.train_captions))


@dataclass(frozen=True)
class ScoredCaptions:
    """One caption per image with its statistics per metric (`rows`), and all scores by name (`scores`)."""

    by: str
    captions: list[str]
    rows: Array
    scores: dict[str, Any]


def score_captions(evaluation_set: EvaluationSet, by: str, captions: Sequence[str], **computed: Any) -> ScoredCaptions:
    """Score one caption per image; `computed` are scores computed elsewhere, listed first.

    BLEU, ROUGE-L, CIDEr-D, then: mean caption length, vocabulary size, number of distinct captions, and the fractions
    of captions that repeat a bigram, of words that are `<UNK>`, and of captions that are not in the training split.
    """
    tokenized = list(map(tokenize, captions))
    rows = score_rows(tokenized, evaluation_set.reference_words)
    words = [word for caption in tokenized for word in caption]
    scores: dict[str, Any] = {
        **computed,
        **scores_by_name(rows),
        **diversity(tokenized),
        "unk": fraction(words.count(UNK.lower()), words),
    }
    if evaluation_set.train_words is not None:
        scores["novel"] = novelty(tokenized, evaluation_set.train_words)
    return ScoredCaptions(by, list(captions), rows, scores)


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


def score_model(
    captioner: Captioner, corpus: Corpus, name: str, evaluation_set: EvaluationSet, rows: Array
) -> ScoredCaptions:
    """Score a model's captions of a split, and measure the perplexity of its references."""
    split, loaded = corpus.split(name), captioner.loaded
    loss = mean_word_loss(loaded.model, sequential_batches(split, BATCH), ThreadPool(loaded.config.threads))
    every = [candidates[0].text for candidates in captioner.candidates(split.features, regions=split.regions)]
    captions = [every[row] for row in rows]
    true = None
    if split.is_true is not None:
        true = fraction(sum(split.is_true(row, every[row].split()) for row in rows.tolist()), captions)
    return score_captions(evaluation_set, "model", captions, loss=loss, perplexity=perplexity(loss), true=true)


def intervals(scored: ScoredCaptions, other: ScoredCaptions | None = None) -> dict[str, list[float]]:
    """Compute the 95 % bootstrap interval of each score, or of its difference from the score of other captions."""
    bounds = confidence_interval(scored.rows, None if other is None else other.rows)
    return dict(zip(NAMES, bounds.T.tolist(), strict=True))


def to_dict(
    evaluation_set: EvaluationSet, scored: ScoredCaptions, others: Sequence[ScoredCaptions] = ()
) -> dict[str, Any]:
    """Convert scores to JSON types, with the scores of other captions and the differences from them."""
    record = {"images": len(evaluation_set.images), **scored.scores, "intervals": intervals(scored)}
    if others:
        record["others"] = {
            other.by: {**other.scores, "intervals": intervals(other), "difference": intervals(scored, other)}
            for other in others
        }
    return record


def worst(evaluation_set: EvaluationSet, scored: ScoredCaptions, count: int) -> list[dict[str, Any]]:
    """List the `count` images with the lowest CIDEr-D, lowest first, with scores, caption and references."""
    scores = scores_from_sums(scored.rows)
    order = np.argsort(scores[:, NAMES.index("cider_d")], kind="stable")[:count].tolist()
    return [
        {
            "image": evaluation_set.images[image],
            "caption": scored.captions[image],
            **dict(zip(NAMES, scores[image].tolist(), strict=True)),
            "references": evaluation_set.references[image],
        }
        for image in order
    ]
