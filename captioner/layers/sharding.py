"""How the workers of a pool share a scan: by captions, or by hidden units. The faster way is chosen by measurement."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from captioner.layers.block_width import MAX_ROWS, fastest, measure, row_class
from captioner.layers.choices import CHOICES
from captioner.parallel.thread_pool import ThreadPool

CAPTIONS, UNITS = "captions", "hidden units"
MARGIN = 0.9
"""Hidden units must take less than this share of the time of captions: the last bits of results depend on the choice,
so noise must not change it."""
MIN_PRODUCT = 1 << 23
"""For smaller recurrent products (multiplications), workers would mostly wait for each other."""
WAITS = 50


def caption_shards(captions: int, gates: int, hidden: int, dtype: np.dtype[np.floating], pool: ThreadPool) -> int:
    """Return the number of shards of a packing: one for each worker, or one if workers share the hidden units.

    Few rows make products slow with some BLAS kernels. Workers that share hidden units keep all rows, but must wait for
    each other at every time step. The first call for a class of shapes measures both, in about 40 ms.
    """
    rows = row_class(captions)
    many = rows // pool.size >= MAX_ROWS  # more rows make products no faster
    if pool.size == 1 or many or rows * gates * hidden * hidden < MIN_PRODUCT:
        return pool.size
    name = f"{rows} captions, {gates} x {hidden} units, {dtype}, threads {pool.size}"
    return 1 if CHOICES.choose(name, lambda: _faster(rows, gates, hidden, dtype, pool)) == UNITS else pool.size


def _faster(rows: int, gates: int, hidden: int, dtype: np.dtype[np.floating], pool: ThreadPool) -> str:
    by_captions = measure(-(-rows // pool.size), hidden, hidden, dtype, pool)
    by_units = measure(rows, hidden, -(-hidden // pool.size), dtype, pool)
    seconds = {
        CAPTIONS: gates * by_captions[fastest(by_captions)],
        UNITS: gates * by_units[fastest(by_units)] + _wait_seconds(pool),
    }
    return UNITS if seconds[UNITS] < MARGIN * seconds[CAPTIONS] else CAPTIONS


def _wait_seconds(pool: ThreadPool) -> float:
    """Measure how long workers take to wait for each other once."""

    def work(worker: int, wait: Callable[[], object]) -> None:
        for _ in range(WAITS):
            wait()

    times = []
    for _ in range(3):
        began = perf_counter()
        pool.map_in_step(work)
        times.append((perf_counter() - began) / WAITS)
    return min(times)
