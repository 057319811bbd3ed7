"""BLEU-1 to BLEU-4 of a corpus."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import LONGEST, Words, count, flatten, lengths

TINY, SMALL = 1e-15, 1e-9
"""What pycocoevalcap adds above and below, so that nothing is divided by 0."""


def bleu_rows(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """What BLEU adds up: n-grams that the references have, n-grams, words, and words of the closest reference.

    An n-gram counts as often as in the reference that has it most. Of two references that are equally close in length,
    the shorter is taken.

    Shapes: N captions and N lists of references -> (N, 10).
    """
    ids: dict[Hashable, int] = {}
    flat, image = flatten(references)
    told, known = count(captions, ids), count(flat, ids)
    keys, place = np.unique(np.concatenate((told.key, known.key)), return_inverse=True)
    pairs = place + len(keys) * np.concatenate((told.row, image[known.row]))
    found, place = np.unique(pairs, return_inverse=True)
    most = np.zeros(len(found), np.int64)
    np.maximum.at(most, place[len(told.key) :], known.times)
    clipped = np.minimum(told.times, most[place[: len(told.key)]])

    words, sizes = lengths(captions), lengths(flat)
    by = np.lexsort((sizes, np.abs(sizes - words[image]), image))
    closest = sizes[by][np.flatnonzero(np.diff(image[by], prepend=-1))]
    rows = np.empty((len(captions), 2 * LONGEST + 2))
    right = np.bincount(told.row * LONGEST + told.order, clipped, len(captions) * LONGEST)
    rows[:, :LONGEST] = right.reshape(-1, LONGEST)
    rows[:, LONGEST:-2] = np.maximum(words[:, None] - np.arange(LONGEST), 0)
    rows[:, -2], rows[:, -1] = words, closest
    return rows


def bleu(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The geometric mean of the precisions of 1- to n-grams, times a penalty for too few words, n = 1 .. 4.

    p_n = (right_n + tiny) / (all_n + small);   r = words / words of the closest references
    BLEU_n = (p_1 .. p_n)^(1/n) min(1, exp(1 - 1/r))

    Shapes: sums of `bleu_rows` (..., 10) -> (..., 4).
    Source: Papineni et al., "BLEU", 2002; constants and closest length as in pycocoevalcap 1.2.
    """
    right, everything = totals[..., :LONGEST], totals[..., LONGEST:-2]
    precisions = np.cumprod((right + TINY) / (everything + SMALL), axis=-1)
    ratio = (totals[..., -2] + TINY) / (totals[..., -1] + SMALL)
    # the penalty is at most 1, and exp does not overflow for no words at all
    penalty = np.exp(np.minimum(0, 1 - 1 / np.maximum(ratio, TINY * TINY)))
    scores: NDArray[np.float64] = precisions ** (1 / np.arange(1, LONGEST + 1)) * penalty[..., None]
    return scores
