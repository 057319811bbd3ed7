"""Batches read ahead: a thread reads the next while the caller computes on the last."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np

from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.data.corpus import Features


class ReadAhead:
    """The same batches, of which the one after the last asked for is being read already.

    One thread reads them all, one at a time, so `batches` need not stand two readers. Step `end` and those after it
    are read only when they are asked for. Closing waits for nothing, and the end of the process for a read under way.
    """

    def __init__(self, batches: ShuffledBatches, end: int) -> None:
        self._batches = batches
        self._end = end
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._reads: dict[int, Future[Batch]] = {}

    def batch(self, step: int, /) -> Batch:
        """The batch of a step; what reading it has raised, now or ahead, is raised here."""
        wanted = [step, step + 1] if step + 1 < self._end else [step]
        self._reads = {one: self._reads.get(one) or self._thread.submit(self._batches.batch, one) for one in wanted}
        return self._reads.pop(step).result()

    def close(self) -> None:
        """Read no more; a read that is under way ends by itself."""
        # Not awaited: the garbage collector may close a forgotten one from within that very thread.
        self._thread.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def in_memory(features: Features) -> bool:
    """Whether the numbers are an array's own; pages of a mapped file, like rows of one, are read when asked for."""
    owner: object = features
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return isinstance(owner, np.ndarray)
