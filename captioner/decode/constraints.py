"""Constraints on the next word, for all decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class Constraints(NamedTuple):
    """Banned words, minimum length in words (without `<END>`), and no-repeat n-gram size.

    With `no_repeat_ngram` = n > 0, no n-gram occurs twice in a caption.
    """

    banned: Sequence[int] = ()
    min_length: int = 0
    no_repeat_ngram: int = 0

    def apply(self, log_probs: Array, words: Array, end: int) -> None:
        """Set the log-probabilities of forbidden next words to -inf, in place.

        `<END>` stays allowed before the minimum length if all other words are forbidden.

        Shapes: log_probs (R, V), words before (R, t).
        Source: Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5 (n-grams).
        """
        log_probs[:, list(self.banned)] = -np.inf
        if self.no_repeat_ngram and words.shape[1] >= self.no_repeat_ngram:
            ngrams = np.lib.stride_tricks.sliding_window_view(words, self.no_repeat_ngram, axis=1)
            prefix = words[:, None, words.shape[1] - self.no_repeat_ngram + 1 :]
            row, at = np.nonzero((ngrams[:, :, :-1] == prefix).all(axis=2))
            log_probs[row, ngrams[row, at, -1]] = -np.inf
        if words.shape[1] < self.min_length:
            ending = log_probs[:, end].copy()
            log_probs[:, end] = -np.inf
            log_probs[:, end] = np.where(log_probs.max(axis=1) > -np.inf, -np.inf, ending)


UNCONSTRAINED = Constraints()
