"""Threads that compute side by side: NumPy lets go of the interpreter's lock while it works on an array."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import numpy as np

from captioner.arrays import Array

T = TypeVar("T")
WORTHWHILE = 10**7
"""Multiplications, a tenth of a millisecond or two."""


class Outcome(NamedTuple):
    """What became of a member's work."""

    worker: int
    result: Any
    error: BaseException | None


class ThreadPool:
    """So many members that do the same work on different shares; the caller's thread is the first of them.

    BLAS should have one thread meanwhile: see `blas.set_threads`. A queue for each member hands work over in a fifth of
    the time that an executor's futures take, which counts in steps of a few milliseconds.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._todo: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(size - 1)]
        for todo in self._todo:
            Thread(target=_serve, args=(todo,), name="team", daemon=True).start()
            weakref.finalize(self, todo.put, None)

    def map(self, work: Callable[[int], T]) -> list[T]:
        """What `work` returns for member 0, 1, ..., after all of them are done; what a member raises is raised here.

        What the caller has set by `np.seterr` holds everywhere. Only an exception from a signal handler ends the wait
        early. `work` must not call `map` of the same team.
        """
        done: SimpleQueue[Outcome] = SimpleQueue()
        handling = np.geterr()
        for worker, todo in enumerate(self._todo, 1):
            todo.put((work, worker, handling, done))
        try:
            first = work(0)
        finally:
            others = sorted((done.get() for _ in self._todo), key=lambda outcome: outcome.worker)
        for outcome in others:
            if outcome.error is not None:
                raise outcome.error
        return [first, *(outcome.result for outcome in others)]

    def shards(self, count: int) -> list[slice]:
        """0 .. count - 1 in as many stretches as there are members."""
        bounds = [count * worker // self.size for worker in range(self.size + 1)]
        return [slice(*pair) for pair in itertools.pairwise(bounds)]

    def matmul(self, x: Array, w: Array, out: Array) -> Array:
        """x w into `out`, of which every member computes some rows, or some columns where there are more of them.

        What takes no longer than to hand it out is left to the caller.

        Shapes: x (..., N, K), w (..., K, M) -> (..., N, M).
        """
        rows, columns = out.shape[-2:]
        if self.size == 1 or out.size * x.shape[-1] < WORTHWHILE:
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


def _serve(todo: SimpleQueue[Any]) -> None:
    """Do one work after another, until there is None."""
    while (task := todo.get()) is not None:
        work, worker, handling, done = task
        try:
            with np.errstate(**handling):
                outcome = Outcome(worker, work(worker), None)
        except BaseException as error:
            outcome = Outcome(worker, None, error)
        done.put(outcome)
        del task, work, outcome  # what they refer to may be large, and the next may not come


SERIAL = ThreadPool()
"""The caller's thread by itself."""
