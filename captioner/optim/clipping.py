"""Gradient clipping by the global norm."""

from __future__ import annotations

import math

import numpy as np

from captioner.arrays import Params
from captioner.optim.update_rules import aligned_chunks
from captioner.parallel.thread_pool import SERIAL, ThreadPool


def global_norm(grads: Params, pool: ThreadPool = SERIAL) -> float:
    """Return the global norm of the gradients: √ Σ g².

    The sums of the chunks are added in the order of the names, so the result is bit-identical for any order of the dict
    and any number of workers.
    """
    chunks = [chunk for _, (chunk,) in aligned_chunks([dict(sorted(grads.items()))])]
    squares = [0.0] * len(chunks)

    def work(worker: int) -> None:
        for number in range(worker, len(chunks), pool.size):
            squares[number] = float(np.vdot(chunks[number], chunks[number]))

    pool.map(work)
    return math.sqrt(sum(squares))


def clip_scale(norm: float, limit: float | None) -> float:
    """Return the factor that clips gradients to a maximum norm: min(1, limit / norm).

    Source: Pascanu et al. 2013, algorithm 1.
    """
    return 1.0 if limit is None or norm <= limit else limit / norm
