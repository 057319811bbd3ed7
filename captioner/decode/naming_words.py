"""Words that name things, found in captions without a list: the candidates for keywords."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array

ITERATIONS = 2
SHARE = 0.85
"""How often a thing follows where a word does, relative to the mean, if the word names things."""


def naming_words(captions: Array, size: int, end: int) -> Array:
    """Return which words of a vocabulary of `size` name things, from their neighbours in captions.

        f(w) = mean over occurrences of w of the mean x of the other words after the same previous word, each weighted
               by the share of these others
        e(w) = share of the occurrences of w before `<END>` or a word with a low f

    In the first pass, x is the share of a word's occurrences that end a caption: high for nouns, low for verbs and
    adjectives. In the second, it is 1 for the words of the first and 0 for others. A word names a thing if it occurs
    where things do, f(w) at least `SHARE` times the mean of all occurrences, and if no other thing follows, as after
    adjectives: e(w) at least 1/2. The words of either pass are returned, without those that one other word mostly
    follows (group of, front of).

    Shapes: captions (C, T), where ids up to `end` are no words -> (size,) bool.
    """
    before, word, after = (captions[:, i : captions.shape[1] - 2 + i].ravel().astype(np.int64) for i in range(3))
    kept = word > end
    before, word, after = before[kept], word[kept], after[kept]
    if not len(word):
        return np.zeros(size, bool)
    count = np.maximum(np.bincount(word, minlength=size), 1)
    ends = after == end
    pairs, pair_counts = np.unique(before * size + word, return_counts=True)
    previous, follower = np.divmod(pairs, size)
    after_same = np.bincount(before, minlength=size)[previous]
    weights = pair_counts / after_same
    total = np.bincount(follower, weights * (after_same - pair_counts), size)

    def follows(x: Array) -> Array:
        sums = np.bincount(before, x[word], size)[previous] - pair_counts * x[follower]
        return np.asarray(np.bincount(follower, weights * sums, size) / np.maximum(total, 1e-9))

    x, found = np.bincount(word[ends], minlength=size) / count, np.zeros(size, bool)
    for _ in range(ITERATIONS):
        f = follows(x)
        is_thing = f >= SHARE * f[word].mean()
        phrase_ends = np.bincount(word[ends | ~is_thing[after]], minlength=size) / count
        x = (is_thing & (phrase_ends >= 0.5)).astype(float)
        found |= x > 0
    followers, follower_counts = np.unique(word[~ends] * size + after[~ends], return_counts=True)
    most = np.zeros(size)
    np.maximum.at(most, followers // size, follower_counts)
    return np.asarray(found & (2 * most <= count))
