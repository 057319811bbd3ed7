"""Repeated products with the same matrices, packed once for BLAS.

For few rows x, most of the time of x W goes into packing W for the BLAS kernel, in every call. On CPUs with AVX-512,
OpenBLAS has small-matrix kernels for products of at most `SMALL` multiplications, which read their operands in place.
So W is packed once, into blocks of `WIDTH` columns, and x W is computed by small products.
"""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.parallel.thread_pool import SERIAL, ThreadPool

WIDTH = 64
SMALL = 100**3
"""OpenBLAS, kernel/x86_64/sgemm_small_kernel_permit_skylakex.c."""


class BlockedMatrix:
    """A packed copy of G matrices W for repeated products x W.

    Shapes: W (G, K, M).
    """

    def __init__(self, W: Array, pool: ThreadPool = SERIAL) -> None:
        gates, rows, self._columns = W.shape
        self._blocks = np.empty((gates, -(-self._columns // WIDTH), rows, WIDTH), W.dtype)
        self._max_rows = max(4, SMALL // (rows * WIDTH) // 4 * 4)
        self._outs = [self._allocate(0) for _ in range(pool.size)]
        shards = pool.shards(self._blocks.shape[1])
        pool.map(lambda worker: self._pack(W, shards[worker]))

    def _pack(self, W: Array, shard: slice) -> None:
        gates, rows, _ = W.shape
        transposed = W.strides[1] < W.strides[2]
        # Padding: rows whose distance is a power of two compete for the same cache lines when columns are read.
        buffer = np.empty((WIDTH if transposed else 0, gates, rows + 16), W.dtype)[:, :, :rows]
        for b in range(shard.start, shard.stop):
            block = W[:, :, b * WIDTH : (b + 1) * WIDTH]
            width = block.shape[2]
            if transposed:
                buffer[:width] = block.transpose(2, 0, 1)
                block = buffer[:width].transpose(1, 2, 0)
            self._blocks[:, b, :, :width] = block
            self._blocks[:, b, :, width:] = 0

    def _allocate(self, rows: int) -> tuple[Array, Array]:
        """An output array, and a view of it by blocks."""
        gates, count, _, width = self._blocks.shape
        # If the rows of a product have gaps anyway, padding avoids distances that are powers of two.
        padding = 16 if self._columns % width else 0
        out = np.empty((gates, rows, count * width + padding), self._blocks.dtype)
        return out, out[:, :, : count * width].reshape(gates, rows, count, width).swapaxes(1, 2)

    def product(self, x: Array, worker: int = 0) -> Array:
        """Compute x W for each gate, in an array that the worker's next product overwrites.

        Shapes: x (N, K), or (G, 1, N, K) for separate rows per gate -> (G, N, M).
        """
        count = x.shape[-2]
        if count > self._outs[worker][0].shape[1]:
            self._outs[worker] = self._allocate(count)
        out, by_block = self._outs[worker]
        for first in range(0, count, self._max_rows):
            rows = slice(first, min(first + self._max_rows, count))
            np.matmul(x[..., rows, :], self._blocks, out=by_block[:, :, rows])
        return out[:, :count, : self._columns]
