"""Number agreement: words that rarely follow a singular or plural determiner in the training captions."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.data.vocabulary import SPECIAL, Vocab

DETERMINERS = (
    ("a", "an", "another"),
    ("two", "three", "four", "five", "six", "several", "many", "few", "some", "these", "multiple", "various", "both"),
)
"""Words that a singular follows, and those that a plural follows."""
DISTANCE = 2
"""How many words after the nearest determiner are compared: *a train tracks*."""
CONTEXTS = len(DETERMINERS) * DISTANCE
RATIO, MIN_EXPECTED = 0.05, 4.0


def contexts(tokens: Array, vocab: Vocab) -> Array:
    """Return the context of each word: the kind of the determiner before, and the distance; -1 for none.

    Shapes: tokens (..., T) -> (..., T).
    """
    kinds, context = np.full(len(vocab), -1), np.full(tokens.shape, -1)
    for kind, words in enumerate(DETERMINERS):
        kinds[[vocab.word_to_idx[word] for word in words if word in vocab.word_to_idx]] = kind
    for distance in range(DISTANCE, 0, -1):  # the nearest determiner is the last one that is written
        before = kinds[tokens[..., :-distance]]
        context[..., distance:] = np.where(before < 0, context[..., distance:], before * DISTANCE + distance - 1)
    return context


def rare_words(captions: Array, vocab: Vocab) -> Array:
    """Return whether each word is rare in each context c: n_cw < 0.05 n_c n_w / n, the latter at least 4.

    n is the number of words, n_c of those in the context, n_w of the word, and n_cw of the word in the context.

    Shapes: captions (N, T) -> (V, CONTEXTS) bool.
    """
    is_word = ~np.isin(captions, [vocab.word_to_idx[word] for word in SPECIAL])
    context, words = contexts(captions, vocab)[is_word], captions[is_word]
    counts = np.bincount(words * (CONTEXTS + 1) + context + 1, minlength=len(vocab) * (CONTEXTS + 1))
    counts = counts.reshape(len(vocab), CONTEXTS + 1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / max(len(words), 1)
    return np.asarray((counts < RATIO * expected) & (expected >= MIN_EXPECTED))[:, 1:]


def disagrees(tokens: Array, rare: Array, vocab: Vocab) -> Array:
    """Return whether captions contain a word that is rare in its context. Shapes: (..., T), (V, CONTEXTS) -> (...)."""
    context = contexts(tokens, vocab)
    return np.asarray((rare[tokens, context] & (context >= 0)).any(axis=-1))
