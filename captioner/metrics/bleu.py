"""Corpus BLEU-1 to BLEU-4."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import LONGEST, Words, count, flatten, lengths

TINY, SMALL = 1e-15, 1e-9
"""Constants that pycocoevalcap adds to numerators and denominators to avoid division by 0."""


def bleu_rows(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """Return BLEU statistics of each caption: clipped n-gram matches, n-grams, words, and closest reference length.

    Matches are clipped to the maximum count of the n-gram in one reference. Of two references equally close in length,
    the shorter one counts.

    Shapes: N captions and N lists of references -> (N, 10).
    """
    ids: dict[Hashable, int] = {}
    flat, image = flatten(references)
    caption, reference = count(captions, ids), count(flat, ids)
    keys, place = np.unique(np.concatenate((caption.key, reference.key)), return_inverse=True)
    pairs = place + len(keys) * np.concatenate((caption.row, image[reference.row]))
    distinct, place = np.unique(pairs, return_inverse=True)
    maximum = np.zeros(len(distinct), np.int64)
    np.maximum.at(maximum, place[len(caption.key) :], reference.times)
    clipped = np.minimum(caption.times, maximum[place[: len(caption.key)]])

    words, sizes = lengths(captions), lengths(flat)
    order = np.lexsort((sizes, np.abs(sizes - words[image]), image))
    closest = sizes[order][np.flatnonzero(np.diff(image[order], prepend=-1))]
    rows = np.empty((len(captions), 2 * LONGEST + 2))
    matches = np.bincount(caption.row * LONGEST + caption.order, clipped, len(captions) * LONGEST)
    rows[:, :LONGEST] = matches.reshape(-1, LONGEST)
    rows[:, LONGEST:-2] = np.maximum(words[:, None] - np.arange(LONGEST), 0)
    rows[:, -2], rows[:, -1] = words, closest
    return rows


def bleu(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return BLEU-n, the geometric mean of the 1- to n-gram precisions times the brevity penalty, n = 1 .. 4.

    p_n = (matches_n + tiny) / (ngrams_n + small);   r = words / words of the closest references
    BLEU_n = (p_1 .. p_n)^(1/n) min(1, exp(1 - 1/r))

    Shapes: sums of `bleu_rows` (..., 10) -> (..., 4).
    Source: Papineni et al., "BLEU", 2002; constants and closest length as in pycocoevalcap 1.2.
    """
    matches, ngrams = totals[..., :LONGEST], totals[..., LONGEST:-2]
    precisions = np.cumprod((matches + TINY) / (ngrams + SMALL), axis=-1)
    ratio = (totals[..., -2] + TINY) / (totals[..., -1] + SMALL)
    # the penalty is at most 1; the inner maximum avoids an overflow of exp for empty captions
    penalty = np.exp(np.minimum(0, 1 - 1 / np.maximum(ratio, TINY * TINY)))
    scores: NDArray[np.float64] = precisions ** (1 / np.arange(1, LONGEST + 1)) * penalty[..., None]
    return scores
