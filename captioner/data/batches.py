"""Batches of captions, a pure function of the seed and the step, read ahead by a thread.

A checkpoint therefore stores no order: training resumes from the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from captioner.arrays import Array, Batch, BatchPart
from captioner.data.corpus import Features, Split, read_regions
from captioner.layers.packing import caption_lengths
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks


def steps_per_epoch(captions: int, batch_size: int) -> int:
    """Return the number of batches per epoch; the last may be smaller."""
    return -(-captions // batch_size)


class Batches(Protocol):
    """A source of batches by step."""

    def batch(self, step: int, /) -> Batch: ...


class ShuffledBatches:
    """Shuffled batches: every epoch contains each caption once, in an order that depends on (seed, epoch).

    At most `captions_per_image` captions of an image follow each other. They are in one batch, unless the end of a
    batch separates them. Of several ranks, each reads its part of a batch; `null` is the id of `<NULL>`.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        captions_per_image: int = 1,
        *,
        null: int,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self.split, self.null, self.ranks = split, null, ranks
        self.batch_size = min(batch_size, len(split.captions))  # a huge batch_size must not overflow products of it
        self.seed = seed
        self.captions_per_image = min(captions_per_image, len(split.captions))
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
            self._order = shuffle(self.split.image_idxs, rng, self.captions_per_image)
            self._epoch = epoch
        return self._order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, or the part of it that this rank computes."""
        rows = self.rows(step)
        part = part_of_rank(self.split.captions[rows], self.split.image_idxs[rows], self.null, self.ranks)
        return take(self.split, rows if part is None else rows[part.rows])._replace(part=part)


def part_of_rank(captions: Array, images: Array, null: int, ranks: Ranks) -> BatchPart | None:
    """Return which captions of a batch this rank computes; None for one process alone, which computes all.

    Partitioning the captions in the order of their lengths balances the words of the ranks.

    Shapes: captions (N, T), images (N,) the image of each.
    """
    if ranks.size == 1:
        return None
    lengths = caption_lengths(captions, null)
    rows: Array = ranks.partition(np.argsort(-lengths, kind="stable"))
    every = np.unique(images)
    return BatchPart(rows, lengths, np.searchsorted(every, np.unique(images[rows])), len(every))


def shuffle(image_idxs: Array, rng: np.random.Generator, per_image: int) -> Array:
    """Return a random order of captions in which `per_image` captions of an image, or its last, follow each other.

    Shapes: image_idxs (K,) -> (K,).
    """
    order = rng.permutation(len(image_idxs))
    if per_image == 1:
        return order
    order = order[np.argsort(image_idxs[order], kind="stable")]
    images = image_idxs[order]
    rank = np.arange(len(order)) - np.searchsorted(images, images)
    group = np.cumsum(rank % per_image == 0) - 1
    return order[np.argsort(rng.permutation(group[-1] + 1)[group], kind="stable")]


def take(split: Split, rows: Array) -> Batch:
    """Return the captions in `rows`, with the features of their images; regions are read once per image.

    Shapes: rows (N,).
    """
    images = split.image_idxs[rows]
    return Batch(split.features[images], split.captions[rows], read_regions(split.regions, images))


def sequential_batches(split: Split, batch_size: int, ranks: Ranks = SINGLE_PROCESS) -> Iterator[Batch]:
    """Yield batches of every caption once, in file order, for validation.

    Of several ranks, each gets its share of the captions of each batch.
    """
    count = len(split.captions)
    for first in range(0, count, batch_size):
        yield take(split, ranks.partition(np.arange(first, min(first + batch_size, count))))


class PrefetchedBatches(AbstractContextManager["PrefetchedBatches"]):
    """Batches with one batch of prefetching.

    A single thread reads all batches, so `batches` need not be thread-safe. Steps from `end` on are not prefetched.
    `close` does not wait for a read in progress; the interpreter waits for it at exit.
    """

    def __init__(self, batches: Batches, end: int) -> None:
        self._batches = batches
        self._end = end
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._reads: dict[int, Future[Batch]] = {}

    def batch(self, step: int, /) -> Batch:
        """Return the batch of a step; an exception of its read, prefetched or not, is raised here."""
        steps = [step, step + 1] if step + 1 < self._end else [step]
        self._reads = {n: self._reads.get(n) or self._thread.submit(self._batches.batch, n) for n in steps}
        return self._reads.pop(step).result()

    def close(self) -> None:
        """Stop prefetching; a read in progress finishes in the background."""
        # do not wait: the garbage collector may call this from within the prefetch thread
        self._thread.shutdown(wait=False, cancel_futures=True)

    def __exit__(self, *failure: object) -> None:
        self.close()


def in_memory(features: Features | None) -> bool:
    """Check whether features are in memory; those of a memory-mapped file or an HDF5 dataset are read on demand."""
    if features is None:
        return True
    owner: object = features
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return isinstance(owner, np.ndarray)
