"""Repeated products with an autotuned block width, for any number of rows."""

from __future__ import annotations

from captioner.arrays import Array
from captioner.layers.block_width import block_width
from captioner.layers.blocked_matmul import WIDTH, BlockedMatrix


class TunedMatrix:
    """A copy of G matrices W for repeated products x W, each computed in the fastest way for its number of rows.

    If another block width is faster for some numbers of rows, it holds a second copy.

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
        width = block_width(len(x), self._shape, self._dtype)
        if width not in self._by_width:
            self._by_width[width] = BlockedMatrix(self._default.matrix(), width=width)
        return self._by_width[width].product(x)
