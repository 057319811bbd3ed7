"""Prefetching: a background thread reads the next batch while the caller computes on the current one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np

from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.data.corpus import Features


class PrefetchedBatches:
    """Batches with one batch of prefetching.

    A single thread reads all batches, so `batches` need not be thread-safe. Steps from `end` on are not prefetched.
    `close` does not wait for a read in progress; the interpreter waits for it at exit.
    """

    def __init__(self, batches: ShuffledBatches, end: int) -> None:
        self._batches = batches
        self._end = end
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._reads: dict[int, Future[Batch]] = {}

    def batch(self, step: int, /) -> Batch:
        """Return the batch of a step; an exception of its read, prefetched or not, is raised here."""
        wanted = [step, step + 1] if step + 1 < self._end else [step]
        self._reads = {one: self._reads.get(one) or self._thread.submit(self._batches.batch, one) for one in wanted}
        return self._reads.pop(step).result()

    def close(self) -> None:
        """Stop prefetching; a read in progress finishes in the background."""
        # do not wait: the garbage collector may call this from within the prefetch thread
        self._thread.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

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
