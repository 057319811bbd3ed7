"""Thread pool for NumPy, which releases the GIL during array operations."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar

import numpy as np

from captioner.arrays import Array

T = TypeVar("T")
MIN_PARALLEL = 10**7
"""Minimum multiplications of a matrix product to be sharded: 0.1 to 0.2 ms of work."""


class Outcome(NamedTuple):
    """Result or exception of one worker."""

    worker: int
    result: Any
    error: BaseException | None


class ThreadPool:
    """A pool of `size` workers that run the same function on different shards; the calling thread is worker 0.

    The threads start at the first call. `lock` is for callers whose `work` uses buffers.
    BLAS should use one thread (`set_blas_threads`). Dispatch by one queue per worker takes a fifth of the time of
    `concurrent.futures`, which matters for training steps of a few milliseconds.
    """

    min_parallel = MIN_PARALLEL

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.lock = Lock()
        self._queues: list[SimpleQueue[Any]] = []

    def _start(self) -> list[SimpleQueue[Any]]:
        queues: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(self.size - 1)]
        for queue in queues:
            Thread(target=_serve, args=(queue,), name="captioner-worker", daemon=True).start()
            weakref.finalize(self, queue.put, None)
        self._queues = queues
        return queues

    def map(self, work: Callable[[int], T]) -> list[T]:
        """Return [work(0), work(1), ...] after all workers have finished; an exception of a worker is re-raised.

        Workers use the caller's `np.seterr` state. Only an exception from a signal handler ends the wait early. `work`
        must not call `map` of the same pool.
        """
        done: SimpleQueue[Outcome] = SimpleQueue()
        errors = np.geterr()
        queues = self._queues or self._start()
        for worker, queue in enumerate(queues, 1):
            queue.put((work, worker, errors, done))
        try:
            first = work(0)
        finally:
            others = sorted((done.get() for _ in queues), key=lambda outcome: outcome.worker)
        for outcome in others:
            if outcome.error is not None:
                raise outcome.error
        return [first, *(outcome.result for outcome in others)]

    def shards(self, count: int) -> list[slice]:
        """Split 0 .. count - 1 into one contiguous shard per worker."""
        bounds = [count * worker // self.size for worker in range(self.size + 1)]
        return [slice(*pair) for pair in itertools.pairwise(bounds)]

    def matmul(self, x: Array, w: Array, out: Array) -> Array:
        """Compute x w into `out`, sharded by rows, or by columns if there are more of them.

        Products below `min_parallel` run in the calling thread.

        Shapes: x (..., N, D), w (..., D, M) -> (..., N, M).
        """
        rows, columns = out.shape[-2:]
        if self.size == 1 or out.size * x.shape[-1] < self.min_parallel:
            return np.matmul(x, w, out=out)
        shards = self.shards(max(rows, columns))

        def product(worker: int) -> None:
            shard = shards[worker]
            if rows > columns:
                np.matmul(x[..., shard, :], w, out=out[..., shard, :])
            else:
                np.matmul(x, w[..., shard], out=out[..., shard])

        self.map(product)
        return out


def _serve(queue: SimpleQueue[Any]) -> None:
    """Run the tasks of a queue until it yields None."""
    while (task := queue.get()) is not None:
        work, worker, errors, done = task
        try:
            with np.errstate(**errors):
                outcome = Outcome(worker, work(worker), None)
        except BaseException as error:
            outcome = Outcome(worker, None, error)
        done.put(outcome)
        del task, work, outcome  # they may refer to large arrays while the worker waits


SERIAL = ThreadPool()
"""The calling thread alone."""
