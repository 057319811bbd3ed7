"""What a caption may not say: one kernel for all decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class Constraints(NamedTuple):
    """Words that never come, the least number of words (without `<END>`), and the length of word groups that come once.

    With `no_repeat_ngram` = n no n words in a row come twice in a caption; 0 lets all come again.
    """

    banned: Sequence[int] = ()
    min_length: int = 0
    no_repeat_ngram: int = 0

    def apply(self, log_probs: Array, words: Array, end: int) -> None:
        """Set the log-probabilities of what may not come next to -inf, in place.

        Where a caption is too short to end and no other word may come, it ends.

        Shapes: log_probs (R, V), words so far (R, t).
        Source: Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5 (n-grams).
        """
        log_probs[:, list(self.banned)] = -np.inf
        if self.no_repeat_ngram and words.shape[1] >= self.no_repeat_ngram:
            groups = np.lib.stride_tricks.sliding_window_view(words, self.no_repeat_ngram, axis=1)
            last = words[:, None, words.shape[1] - self.no_repeat_ngram + 1 :]
            row, at = np.nonzero((groups[:, :, :-1] == last).all(axis=2))
            log_probs[row, groups[row, at, -1]] = -np.inf
        if words.shape[1] < self.min_length:
            ending = log_probs[:, end].copy()
            log_probs[:, end] = -np.inf
            log_probs[:, end] = np.where(log_probs.max(axis=1) > -np.inf, -np.inf, ending)


FREE = Constraints()
"""No constraint."""
