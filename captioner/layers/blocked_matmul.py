"""Products with the same matrices again and again, laid out so that BLAS need not rearrange them each time.

For a few rows x, most of what BLAS does for x W is to copy W into the order in which its kernel reads it, once a call.
Where the CPU has AVX-512, OpenBLAS has other kernels for products of at most `SMALL` multiplications, which read their
operands as they lie. So W is copied once, into blocks of `WIDTH` columns, and x W is made of small products.
"""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import SERIAL, ThreadPool

WIDTH = 64
SMALL = 100**3
"""OpenBLAS, kernel/x86_64/sgemm_small_kernel_permit_skylakex.c."""


class BlockedMatrix:
    """Matrices W (G, K, M) to multiply rows with from the right; later changes of W do not reach it.

    What belongs to a name in a workspace, the blocks and each member's last product, stands until its next use.
    """

    def __init__(
        self, W: Array, name: str = "W", workspace: Workspace | None = None, pool: ThreadPool = SERIAL
    ) -> None:
        gates, rows, self._columns = W.shape
        self._empty, self._name = (workspace or Workspace()).empty, name
        self._blocks = self._empty(f"{name} blocks", (gates, -(-self._columns // WIDTH), rows, WIDTH), W.dtype)
        self._most = max(4, SMALL // (rows * WIDTH) // 4 * 4)
        self._outs = [self._reserve(0, worker) for worker in range(pool.size)]
        shards = pool.shards(self._blocks.shape[1])
        pool.map(lambda worker: self._lay_out(W, shards[worker], worker))

    def _lay_out(self, W: Array, share: slice, worker: int) -> None:
        gates, rows, _ = W.shape
        transposed = W.strides[1] < W.strides[2]
        # Rows a power of two apart compete for the same cache lines while columns of them are read.
        shape = WIDTH if transposed else 0, gates, rows + 16
        band = self._empty(f"{self._name} band {worker}", shape, W.dtype)[:, :, :rows]
        for b in range(share.start, share.stop):
            block = W[:, :, b * WIDTH : (b + 1) * WIDTH]
            width = block.shape[2]
            if transposed:
                band[:width] = block.transpose(2, 0, 1)
                block = band[:width].transpose(1, 2, 0)
            self._blocks[:, b, :, :width] = block
            self._blocks[:, b, :, width:] = 0

    def _reserve(self, rows: int, worker: int) -> tuple[Array, Array]:
        """Memory for a product, and the same by blocks."""
        gates, count, _, width = self._blocks.shape
        # Where rows of a product have gaps between them all the same, they need not lie a power of two apart.
        gap = 16 if self._columns % width else 0
        shape = gates, rows, count * width + gap
        out = self._empty(f"{self._name} product {worker}", shape, self._blocks.dtype)
        return out, out[:, :, : count * width].reshape(gates, rows, count, width).swapaxes(1, 2)

    def product(self, x: Array, worker: int = 0) -> Array:
        """x W, for every gate, in the member's memory.

        Shapes: x (N, K), or (G, 1, N, K) for rows of each gate's own -> (G, N, M).
        """
        count = x.shape[-2]
        if count > self._outs[worker][0].shape[1]:
            self._outs[worker] = self._reserve(count, worker)
        out, by_block = self._outs[worker]
        for first in range(0, count, self._most):
            rows = slice(first, min(first + self._most, count))
            np.matmul(x[..., rows, :], self._blocks, out=by_block[:, :, rows])
        return out[:, :count, : self._columns]
