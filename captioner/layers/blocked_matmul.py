"""Repeated products with the same matrices, laid out once for BLAS.

For few rows x, most of the time of x W goes into packing W for the BLAS kernel, in every call. On CPUs with AVX-512,
OpenBLAS has small-matrix kernels for products of at most `SMALL` multiplications, which read their operands in place.
With these kernels, W is copied once into blocks of columns, and x W is computed by small products. For many rows, and
with all other kernels, one call is faster, and W is copied with padded rows.

The width depends only on the kernels and on the number of rows, never on a measurement, because the ways differ by
rounding: equal runs on one machine are bit-identical, whatever else the machine computes.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from captioner.arrays import Array
from captioner.parallel.machine import OPENBLAS, describe_blas
from captioner.parallel.thread_pool import SERIAL, ThreadPool

WIDTH = 32
"""Width of the blocks."""
SMALL = 100**3
"""OpenBLAS, kernel/x86_64/sgemm_small_kernel_permit_skylakex.c."""
SMALL_KERNELS = ("skylakex", "cooperlake", "sapphirerapids")
"""Kernels of OpenBLAS for AVX-512, by the names of openblas_get_corename in lower case."""
PADDING = 16
"""Rows at a distance of a power of two map to the same cache sets; padding avoids that."""
MANY_ROWS = 128
"""From this number of rows on, one call is faster: packing W is a small part of it."""


@cache
def has_small_kernels() -> bool:
    """Whether the BLAS library of this process has small-matrix kernels."""
    library = describe_blas()
    return library.name == OPENBLAS and (library.kernel or "").lower() in SMALL_KERNELS


def block_width(rows: int) -> int | None:
    """Return the block width for products of at most `rows` rows; None is one call for all of W."""
    return WIDTH if rows < MANY_ROWS and has_small_kernels() else None


class BlockedMatrix:
    """A copy of G matrices W for repeated products x W, in blocks of `width` columns; None is one block of all columns.

    Shapes: W (G, K, M).
    """

    def __init__(self, W: Array, width: int | None, pool: ThreadPool = SERIAL) -> None:
        gates, rows, self._columns = W.shape
        if width is None:
            whole = np.empty((gates, 1, rows, self._columns + PADDING), W.dtype)
            self._blocks, self._max_rows = whole[..., : self._columns], sys.maxsize
        else:
            self._blocks = np.empty((gates, -(-self._columns // width), rows, width), W.dtype)
            self._max_rows = max(4, SMALL // (rows * width) // 4 * 4)
        self._outs = [self._allocate(0) for _ in range(pool.size)]
        strip = width or WIDTH
        shards = pool.shards(-(-self._columns // strip))
        pool.map(lambda worker: self._pack(W, strip, shards[worker]))

    def _pack(self, W: Array, strip: int, shard: slice) -> None:
        """Copy strips of columns, each into the columns of its block."""
        gates, rows, columns = W.shape
        width = self._blocks.shape[3]
        transposed = W.strides[1] < W.strides[2]
        buffer = np.empty((strip if transposed else 0, gates, rows + PADDING), W.dtype)[:, :, :rows]
        for first in range(shard.start * strip, min(shard.stop * strip, columns), strip):
            source = W[:, :, first : first + strip]
            count = source.shape[2]
            if transposed:
                buffer[:count] = source.transpose(2, 0, 1)
                source = buffer[:count].transpose(1, 2, 0)
            block, start = divmod(first, width)
            self._blocks[:, block, :, start : start + count] = source
            if strip == width:
                self._blocks[:, block, :, count:] = 0

    def _allocate(self, rows: int) -> tuple[Array, Array]:
        """An output array, and a view of it by blocks."""
        gates, count, _, width = self._blocks.shape
        # If the rows of a product have gaps anyway, padding avoids distances that are powers of two.
        padding = PADDING if self._columns % width else 0
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

    def matrix(self) -> Array:
        """Return a view of W, if it is one block.

        Shapes: (G, K, M).
        """
        return self._blocks[:, 0]


class InferenceMatrix:
    """A copy of G matrices W for repeated products x W of any number of rows; a second copy is in blocks if needed.

    Shapes: W (G, K, M).
    """

    def __init__(self, W: Array) -> None:
        self._whole = BlockedMatrix(W, None)
        self._blocked: BlockedMatrix | None = None

    def product(self, x: Array) -> Array:
        """Compute x W for each gate, in an array that the next product of the same layout overwrites.

        Shapes: x (N, K) -> (G, N, M).
        """
        width = block_width(len(x))
        if width is None:
            return self._whole.product(x)
        if self._blocked is None:
            self._blocked = BlockedMatrix(self._whole.matrix(), width)
        return self._blocked.product(x)
