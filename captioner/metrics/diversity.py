"""What can be told of captions without references: how long, how various, how new."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from captioner.metrics.ngrams import Words


def wording(captions: Sequence[Words]) -> dict[str, float]:
    """Words a caption, different words and captions, and the share of captions that repeat a bigram."""
    return {
        "mean_length": share(sum(map(len, captions)), captions),
        "vocabulary": len({word for words in captions for word in words}),
        "distinct": len({tuple(words) for words in captions}),
        "repeats": share(sum(map(_repeats, captions)), captions),
    }


def novel(captions: Sequence[Words], known: Sequence[Words]) -> float:
    """The share of captions that are, word by word, none of the known ones."""
    seen = {tuple(words) for words in known}
    return share(sum(tuple(words) not in seen for words in captions), captions)


def share(count: float, of: Collection[object]) -> float:
    return count / len(of) if of else 0.0


def _repeats(words: Words) -> bool:
    bigrams = list(pairwise(words))
    return len(set(bigrams)) < len(bigrams)
