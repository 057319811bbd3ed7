"""BLEU and ROUGE-L, and n-gram counts of many captions at once, which CIDEr-D uses too.

A word is any hashable value. Words are mapped to ids, and n-grams to 64-bit hashes of the ids of their words: among 10
million n-grams, the probability of any collision is 3 in a million.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError

Words = Sequence[Hashable]
MAX_N = 4
"""Maximum n of the counted n-grams."""


class Counts(NamedTuple):
    """One entry per distinct n-gram of each caption, ordered by caption.

    Shapes: all (E,): `row` of the caption, `order` n - 1, hash `key` and count `times` of the n-gram.
    """

    row: NDArray[np.int64]
    order: NDArray[np.int64]
    key: NDArray[np.uint64]
    times: NDArray[np.int64]


def lengths(captions: Sequence[Words]) -> NDArray[np.int64]:
    return np.fromiter(map(len, captions), np.int64, len(captions))


def count(captions: Sequence[Words], ids: dict[Hashable, int]) -> Counts:
    """Count the n-grams of captions, n = 1 .. `MAX_N`; new words are added to `ids`."""
    sizes = lengths(captions)
    flat = np.fromiter((ids.setdefault(word, len(ids)) for words in captions for word in words), np.uint64)
    row = np.repeat(np.arange(len(captions)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(flat))
    words = key = _mix(flat)
    rows, orders, keys = [], [], []
    for order in range(MAX_N):
        if order:
            key = _mix(key[:-1] * _ODD + words[order:])
        whole = left[: len(key)] > order
        rows.append(row[: len(key)][whole])
        keys.append(key[whole])
        orders.append(np.full(len(rows[-1]), order))
    return _collect(np.concatenate(rows), np.concatenate(orders), np.concatenate(keys))


def flatten(references: Sequence[Sequence[Words]]) -> tuple[list[Words], NDArray[np.int64]]:
    """Return the references of all images in one list, and the image index of each.

    Raises: DataError if an image has no reference.
    """
    sizes = lengths(references)
    if not sizes.all():
        raise DataError(f"references: image {int(sizes.argmin())}: expected at least one caption, got none")
    return [words for texts in references for words in texts], np.repeat(np.arange(len(references)), sizes)


def _collect(row: NDArray[np.int64], order: NDArray[np.int64], key: NDArray[np.uint64]) -> Counts:
    by = np.lexsort((key, row))
    row, order, key = row[by], order[by], key[by]
    new = np.ones(len(key), bool)
    new[1:] = (row[1:] != row[:-1]) | (key[1:] != key[:-1])
    first = np.flatnonzero(new)
    return Counts(row[first], order[first], key[first], np.diff(first, append=len(key)))


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64-bit integers by a bijection with good avalanche behaviour.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014, fig. 13 and 14.
    """
    x = (x + np.uint64(1)) * _ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


TINY, SMALL = 1e-15, 1e-9
"""Constants that pycocoevalcap adds to numerators and denominators to avoid division by 0."""
BLEU_SIZE = 2 * MAX_N + 2
"""Number of BLEU statistics of a caption."""


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
    rows = np.empty((len(captions), BLEU_SIZE))
    matches = np.bincount(caption.row * MAX_N + caption.order, clipped, len(captions) * MAX_N)
    rows[:, :MAX_N] = matches.reshape(-1, MAX_N)
    rows[:, MAX_N:-2] = np.maximum(words[:, None] - np.arange(MAX_N), 0)
    rows[:, -2], rows[:, -1] = words, closest
    return rows


def bleu(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return BLEU-n, the geometric mean of the 1- to n-gram precisions times the brevity penalty, n = 1 .. 4.

    p_n = (matches_n + tiny) / (ngrams_n + small);   r = words / words of the closest references
    BLEU_n = (p_1 .. p_n)^(1/n) min(1, exp(1 - 1/r))

    Shapes: sums of `bleu_rows` (..., 10) -> (..., 4).
    Source: Papineni et al., "BLEU", 2002; constants and closest length as in pycocoevalcap 1.2.
    """
    matches, ngrams = totals[..., :MAX_N], totals[..., MAX_N:-2]
    precisions = np.cumprod((matches + TINY) / (ngrams + SMALL), axis=-1)
    ratio = (totals[..., -2] + TINY) / (totals[..., -1] + SMALL)
    # the penalty is at most 1; the inner maximum avoids an overflow of exp for empty captions
    penalty = np.exp(np.minimum(0, 1 - 1 / np.maximum(ratio, TINY * TINY)))
    scores: NDArray[np.float64] = precisions ** (1 / np.arange(1, MAX_N + 1)) * penalty[..., None]
    return scores


BETA = 1.2
"""Weight of recall relative to precision."""


def rouge_l(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """Return the ROUGE-L of each caption; the corpus score is the mean.

    P = max_r lcs(c, r) / |c|,   R = max_r lcs(c, r) / |r|,   (1 + beta^2) P R / (R + beta^2 P)

    An empty caption counts as one empty word, as in pycocoevalcap.

    Shapes: N captions and N lists of references -> (N,).
    Source: Lin, "ROUGE", 2004, section 3; beta and the maxima as in pycocoevalcap 1.2.
    """
    return np.array([_score(*scored) for scored in zip(captions, references, strict=True)], float)


def lcs(a: Words, b: Words) -> int:
    """Return the length of the longest common subsequence, computed bit-parallel over the words of `a`.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
    """
    places: dict[Hashable, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    full = unmatched = (1 << len(a)) - 1
    for word in b:
        match = unmatched & places.get(word, 0)
        unmatched = (unmatched + match | unmatched - match) & full
    return len(a) - unmatched.bit_count()


def _score(words: Words, references: Sequence[Words]) -> float:
    words = words or ("",)
    common = [(lcs(words, reference or ("",)), max(1, len(reference))) for reference in references]
    precision = max(match for match, _ in common) / len(words)
    recall = max(match / size for match, size in common)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if precision else 0.0
