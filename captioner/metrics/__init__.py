"""BLEU, ROUGE-L and CIDEr-D of captions: S additive statistics per image, and M scores as functions of their sum.

Bootstrap resampling is then one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.bleu_and_rouge import BLEU_SIZE, MAX_N, Words, bleu, bleu_rows, rouge_l
from captioner.metrics.cider import CiderD, cider_d
from captioner.metrics.ptb import ptb_tokenize

__all__ = [
    "LOWER_IS_BETTER",
    "NAMES",
    "TITLES",
    "CiderD",
    "confidence_interval",
    "diversity",
    "fraction",
    "image_scores",
    "novelty",
    "ptb_tokenize",
    "score_rows",
    "scores_by_name",
    "scores_from_sums",
]


class Metric(NamedTuple):
    """One or more scores of captions: `titles` by name, statistics of each image, and scores of their sums.

    Of two scores, the higher one is better, unless `lower_is_better`.

    The statistics are additive. Their sums over some images and the number of these give the scores of these images,
    which are shown times 100.

    Shapes: N captions -> (N, size), or (N,) if size is 1; sums (..., size), images (..., 1) -> (..., len(titles)).
    """

    titles: Mapping[str, str]
    size: int
    statistics: Callable[[Sequence[Words], Sequence[Sequence[Words]]], NDArray[np.float64]]
    scores: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]] = np.divide
    lower_is_better: bool = False


METRICS = (
    Metric({f"bleu{n}": f"BLEU-{n}" for n in range(1, MAX_N + 1)}, BLEU_SIZE, bleu_rows, lambda sums, _: bleu(sums)),
    Metric({"rouge_l": "ROUGE-L"}, 1, rouge_l),
    Metric({"cider_d": "CIDEr-D"}, 1, cider_d),
)
TITLES = {name: title for metric in METRICS for name, title in metric.titles.items()}
"""The titles of all scores by name, in the order of the arrays of scores."""
NAMES = tuple(TITLES)
LOWER_IS_BETTER = {"loss", *(name for metric in METRICS if metric.lower_is_better for name in metric.titles)}
ENDS = np.cumsum([metric.size for metric in METRICS])
SAMPLES, LEVEL = 1000, 0.95


def score_rows(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """Return the additive statistics of each image: those of all metrics, and 1, whose sum is the number of images.

    Shapes: N captions and N lists of references -> (N, S).
    Raises: DataError if an image has no reference.
    """
    statistics = [metric.statistics(captions, references) for metric in METRICS]
    return np.column_stack((*statistics, np.ones(len(captions))))


def scores_from_sums(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores, in the order of `NAMES`, of a corpus (from the sum of its rows) or an image (from its row).

    Shapes: (..., S) -> (..., M).
    """
    *sums, images = np.split(totals, ENDS, axis=-1)
    return np.concatenate([metric.scores(part, images) for metric, part in zip(METRICS, sums, strict=True)], axis=-1)


def scores_by_name(rows: NDArray[np.float64]) -> dict[str, float]:
    """Return the scores of a corpus by name.

    Shapes: rows (N, S).
    """
    return dict(zip(NAMES, scores_from_sums(rows.sum(axis=0)).tolist(), strict=True))


def image_scores(rows: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return one score of each image.

    Shapes: rows (N, S) -> (N,).
    """
    return scores_from_sums(rows)[:, NAMES.index(name)]


def confidence_interval(rows: NDArray[np.float64], other: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the 95 % bootstrap interval of each score over images, or of its difference from that of other captions.

    `rows` and `other` are statistics of the same images from `score_rows` (the paired bootstrap).

    Shapes: rows and other (N, S) -> (2, M), lower and upper bounds.
    Source: Koehn, "Statistical significance tests for machine translation evaluation", 2004.
    """
    images = len(rows)
    samples = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), SAMPLES).astype(float)
    values = scores_from_sums(samples @ rows)
    if other is not None:
        values -= scores_from_sums(samples @ other)
    return np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)


def diversity(captions: Sequence[Words]) -> dict[str, float]:
    """Return mean length, distinct words, distinct captions, and the fraction of captions with a repeated bigram."""
    return {
        "mean_length": fraction(sum(map(len, captions)), captions),
        "vocabulary": len({word for words in captions for word in words}),
        "distinct": len({tuple(words) for words in captions}),
        "repeats": fraction(sum(map(_repeats, captions)), captions),
    }


def novelty(captions: Sequence[Words], training: Sequence[Words]) -> float:
    """Return the fraction of captions that are not among the training captions."""
    seen = {tuple(words) for words in training}
    return fraction(sum(tuple(words) not in seen for words in captions), captions)


def fraction(count: float, of: Collection[object]) -> float:
    return count / len(of) if of else 0.0


def _repeats(words: Words) -> bool:
    bigrams = list(pairwise(words))
    return len(set(bigrams)) < len(bigrams)
