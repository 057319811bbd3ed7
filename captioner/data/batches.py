"""Which captions make up which batch: a pure function of a seed and the step.

So there is no order to save: whoever knows the seed and the step goes on exactly where training stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from captioner.arrays import Array, Batch
from captioner.data.corpus import Split


def steps_per_epoch(captions: int, batch_size: int) -> int:
    """Batches that show every caption once; the last may be smaller."""
    return -(-captions // batch_size)


class ShuffledBatches:
    """The batches of every epoch: each caption once, in an order drawn from (seed, epoch)."""

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        self.split = split
        self.batch_size = min(batch_size, len(split.captions))  # no larger batch exists, and products of it stay small
        self.seed = seed
        self.per_epoch = steps_per_epoch(len(split.captions), batch_size)
        self._epoch = -1
        self._order: Array = np.empty(0, int)

    def rows(self, step: int) -> Array:
        """The rows of `captions` that step 0, 1, ... learns from.

        Shapes: -> (N,), N <= batch_size.
        """
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, 0, epoch))
            self._order = rng.permutation(len(self.split.captions))
            self._epoch = epoch
        return self._order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def batch(self, step: int) -> Batch:
        """Features and captions of a step."""
        return Batch(*take(self.split, self.rows(step)))


def take(split: Split, rows: Array) -> tuple[Array, Array]:
    """Features and captions of some rows.

    Shapes: rows (N,) -> features (N, F), captions (N, T).
    """
    return split.features[split.image_idxs[rows]], split.captions[rows]


def in_order(split: Split, batch_size: int, most: int | None = None) -> Iterator[tuple[Array, Array]]:
    """Every caption (or the first `most`) once, in file order: what a validation reads."""
    count = min(len(split.captions), most or len(split.captions))
    for first in range(0, count, batch_size):
        yield take(split, np.arange(first, min(first + batch_size, count)))
