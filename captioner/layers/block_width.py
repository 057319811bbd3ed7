"""The block width of a `BlockedMatrix`, chosen by measurement: which one is fastest depends on the CPU and its BLAS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from time import perf_counter

import numpy as np

from captioner.arrays import Array
from captioner.layers.blocked_matmul import WIDTH, BlockedMatrix
from captioner.layers.choices import CHOICES
from captioner.parallel.thread_pool import SERIAL, ThreadPool

WIDTHS: Mapping[str, int | None] = {
    f"blocks of {WIDTH} columns": WIDTH,
    "blocks of 32 columns": 32,
    "blocks of 96 columns": 96,
    "blocks of 128 columns": 128,
    "one call": None,
}
"""All choices; the first is the default."""
DEFAULT = next(iter(WIDTHS))
MARGIN = 0.9
"""Another choice must take less than this share of the default's time: the last bits of results depend on the choice,
so noise must not change it."""
MIN_ROWS, MAX_ROWS, MAX_COLUMNS = 24, 64, 512
"""Fewer rows use the default; more rows or columns use the choice for these numbers."""
MIN_PRODUCT = 1 << 22
"""Smaller products (multiplications) use the default: their time does not matter."""
ROUNDS = 3


def block_width(rows: int, W_shape: tuple[int, ...], dtype: np.dtype[np.floating], pool: ThreadPool) -> int | None:
    """Return the fastest width for products of about `rows` rows with W on each worker; None is one call.

    The first call for a class of shapes measures it, in about 15 ms. All widths give equal results up to rounding.

    Shapes: W (G, K, M).
    """
    depth, columns = W_shape[1], min(W_shape[2], MAX_COLUMNS)
    rows = min(MAX_ROWS, row_class(rows))
    if rows < MIN_ROWS or rows * depth * columns < MIN_PRODUCT:
        return WIDTHS[DEFAULT]
    name = f"{rows} x {depth} by {depth} x {columns}, {dtype}, threads {pool.size}"
    choice = CHOICES.choose(name, lambda: fastest(measure(rows, depth, columns, dtype, pool)))
    return WIDTHS.get(choice, WIDTHS[DEFAULT])


def row_class(rows: int) -> int:
    """Return the power of two that stands for a number of rows."""
    return 1 << round(math.log2(max(1, rows)))


class TunedMatrix:
    """A copy of G matrices W for repeated products x W, each computed in the fastest way for its number of rows.

    Shapes: W (G, K, M).
    """

    def __init__(self, W: Array) -> None:
        self._shape, self._dtype = W.shape, W.dtype
        self._default = BlockedMatrix(W)
        self._by_width: dict[int | None, BlockedMatrix] = {WIDTH: self._default}

    def product(self, x: Array) -> Array:
        """Compute x W for each gate, in an array that the next product overwrites.

        Shapes: x (N, K) -> (G, N, M).
        """
        width = block_width(len(x), self._shape, self._dtype, SERIAL)
        if width not in self._by_width:
            self._by_width[width] = BlockedMatrix(self._default.matrix(), SERIAL, width)
        return self._by_width[width].product(x)


def measure(rows: int, depth: int, columns: int, dtype: np.dtype[np.floating], pool: ThreadPool) -> dict[str, float]:
    """Return the shortest time of one product by choice, in seconds, with all workers computing at the same time."""
    rng = np.random.default_rng(0)
    W, x = (rng.standard_normal(shape).astype(dtype) for shape in ((1, depth, columns), (rows, depth)))
    matrices = {name: BlockedMatrix(W, pool, width) for name, width in WIDTHS.items()}
    times: dict[str, list[float]] = {name: [] for name in WIDTHS}
    for _ in range(ROUNDS):
        for name, matrix in matrices.items():
            pool.map(partial(matrix.product, x))  # brings the matrix into the cache
            began = perf_counter()
            pool.map(partial(matrix.product, x))
            times[name].append(perf_counter() - began)
    return {name: min(several) for name, several in times.items()}


def fastest(times: Mapping[str, float]) -> str:
    """Return the choice with the shortest time; the default, unless another is clearly faster."""
    best = min(times, key=lambda name: times[name])
    return best if times[best] < MARGIN * times[DEFAULT] else DEFAULT
