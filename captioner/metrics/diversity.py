"""Length, diversity and novelty of captions, without references."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from captioner.metrics.ngrams import Words


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
