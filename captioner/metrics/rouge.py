"""ROUGE-L: F-score of the longest common subsequence (LCS) of a caption and its references."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import Words

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
