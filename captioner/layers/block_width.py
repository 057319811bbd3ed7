"""Autotuning of the block width of a `BlockedMatrix`: the fastest one depends on the CPU and its BLAS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter

import numpy as np

from captioner.layers.autotune import CHOICES, fastest
from captioner.layers.blocked_matmul import WIDTH, BlockedMatrix

WIDTHS: Mapping[str, int | None] = {
    f"blocks of {WIDTH} columns": WIDTH,
    "blocks of 32 columns": 32,
    "blocks of 96 columns": 96,
    "blocks of 128 columns": 128,
    "one call": None,
}
"""All choices; the first is the default."""
DEFAULT = next(iter(WIDTHS))
MIN_ROWS, MAX_ROWS, MAX_COLUMNS = 32, 64, 512
"""Smaller classes of rows use the default; more rows or columns use the choice for these numbers."""
MIN_PRODUCT = 1 << 22
"""Smaller products (multiplications) use the default: their time does not matter."""
ROUNDS = 5


def block_width(rows: int, W_shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> int | None:
    """Return the block width for products of about `rows` rows with W; None is one call for all of W.

    The first call for a class of shapes measures it, in about 20 ms. All widths give equal results up to rounding.

    Shapes: W (G, K, M).
    """
    depth, columns = W_shape[1], min(W_shape[2], MAX_COLUMNS)
    rows = min(MAX_ROWS, 1 << round(math.log2(max(1, rows))))
    if rows < MIN_ROWS or rows * depth * columns < MIN_PRODUCT:
        return WIDTHS[DEFAULT]
    name = f"{rows} x {depth} by {depth} x {columns}, {dtype}"
    choice = CHOICES.choose(name, lambda: fastest(measure(rows, depth, columns, dtype), DEFAULT))
    return WIDTHS.get(choice, WIDTHS[DEFAULT])


def measure(rows: int, depth: int, columns: int, dtype: np.dtype[np.floating]) -> dict[str, float]:
    """Return the shortest time of one product by choice, in seconds, in the calling thread.

    Other threads would wait for each other and for the interpreter lock, which takes a varying time.
    """
    rng = np.random.default_rng(0)
    W, x = (rng.standard_normal(shape).astype(dtype) for shape in ((1, depth, columns), (rows, depth)))
    matrices = {name: BlockedMatrix(W, width=width) for name, width in WIDTHS.items()}
    times: dict[str, list[float]] = {name: [] for name in WIDTHS}
    for _ in range(ROUNDS):
        for name, matrix in matrices.items():
            matrix.product(x)  # brings the matrix into the cache
            began = perf_counter()
            matrix.product(x)
            times[name].append(perf_counter() - began)
    return {name: min(several) for name, several in times.items()}
