"""Batches of captions: a pure function of the seed and the step.

A checkpoint therefore stores no order: training resumes from the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from captioner.arrays import Array, Batch
from captioner.data.corpus import Split


def steps_per_epoch(captions: int, batch_size: int) -> int:
    """Return the number of batches per epoch; the last may be smaller."""
    return -(-captions // batch_size)


class ShuffledBatches:
    """Shuffled batches: every epoch contains each caption once, in an order that depends on (seed, epoch)."""

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        self.split = split
        self.batch_size = min(batch_size, len(split.captions))  # a huge batch_size must not overflow products of it
        self.seed = seed
        self.per_epoch = steps_per_epoch(len(split.captions), batch_size)
        self._epoch = -1
        self._order: Array = np.empty(0, int)

    def rows(self, step: int) -> Array:
        """Return the rows of `captions` in the batch of a step; steps count from 0.

        Shapes: -> (N,), N <= batch_size.
        """
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._order = rng.permutation(len(self.split.captions))
            self._epoch = epoch
        return self._order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def batch(self, step: int) -> Batch:
        """Return the features and captions of the batch of a step."""
        return Batch(*take(self.split, self.rows(step)))


def take(split: Split, rows: Array) -> tuple[Array, Array]:
    """Return the features and captions of `rows`.

    Shapes: rows (N,) -> features (N, F), captions (N, T).
    """
    return split.features[split.image_idxs[rows]], split.captions[rows]


def sequential_batches(split: Split, batch_size: int, max_captions: int | None = None) -> Iterator[tuple[Array, Array]]:
    """Yield batches of every caption (or the first `max_captions`) once, in file order, for validation."""
    count = min(len(split.captions), max_captions or len(split.captions))
    for first in range(0, count, batch_size):
        yield take(split, np.arange(first, min(first + batch_size, count)))
