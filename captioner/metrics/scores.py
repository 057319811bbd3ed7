"""All figures of a set of captions at once: rows that images add to a sum, and figures that are functions of the sum.

To draw images anew, as the bootstrap does, is then one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.bleu import bleu, bleu_rows
from captioner.metrics.cider import cider_d
from captioner.metrics.ngrams import LONGEST, Words
from captioner.metrics.rouge import rouge_l

NAMES = (*(f"bleu{n}" for n in range(1, LONGEST + 1)), "rouge_l", "cider_d")
SAMPLES, LEVEL = 1000, 0.95


def score_rows(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """What each image adds to the sums.

    Shapes: N captions and N lists of references -> (N, 13): BLEU's 10, ROUGE-L, CIDEr-D and 1.
    Raises: DataError when an image has no reference.
    """
    rows = bleu_rows(captions, references)
    means = rouge_l(captions, references), cider_d(captions, references), np.ones(len(captions))
    return np.column_stack((rows, *means))


def figures(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores in the order of `NAMES`: of a corpus from the sum of its rows, of one image from its row.

    Shapes: (..., 13) -> (..., 6).
    """
    return np.concatenate((bleu(totals[..., :-3]), totals[..., -3:-1] / totals[..., -1:]), axis=-1)


def corpus_scores(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> dict[str, float]:
    """BLEU-1 to -4, ROUGE-L and CIDEr-D of captions, one an image, by the names in `NAMES`."""
    return named(score_rows(captions, references))


def named(rows: NDArray[np.float64]) -> dict[str, float]:
    """The scores of a corpus by the names in `NAMES`.

    Shapes: rows (N, 13).
    """
    return dict(zip(NAMES, figures(rows.sum(axis=0)).tolist(), strict=True))


def interval(rows: NDArray[np.float64], other: NDArray[np.float64] | None = None, seed: int = 0) -> NDArray[np.float64]:
    """Where 95 % of the figures lie when images are drawn anew, or of their differences from those of other captions.

    Both sets of captions are of the same images, and are drawn alike. The weights of CIDEr-D's n-grams stay those of
    all images.

    Shapes: rows (N, 13) -> (2, 6), lower and upper bounds.
    Source: Koehn, "Statistical significance tests for machine translation evaluation", 2004.
    """
    count = len(rows)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), SAMPLES).astype(float)
    values = figures(drawn @ rows)
    if other is not None:
        values -= figures(drawn @ other)
    return np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
