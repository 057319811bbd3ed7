"""The scan for sequences of equal length, as (N, T, D) arrays."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.layers.cell import Cell, CellState, promote
from captioner.layers.packing import pack
from captioner.layers.scan import ScanCache, scan_backward, scan_forward


def sequence_forward(
    cell: Cell, x: Array, initial: CellState, Wx: Array, Wh: Array, b: Array
) -> tuple[Array, ScanCache]:
    """Run `scan_forward` over N sequences of T steps.

    Shapes: x (N, T, D), initial arrays (N, H) -> h (N, T, H).
    """
    x, Wx, Wh, b, *initial_arrays = promote(x, Wx, Wh, b, *initial)
    packing = pack(np.full(len(x), x.shape[1]))
    rows = x[packing.caption, packing.time]
    h, cache = scan_forward(cell, rows, None, tuple(initial_arrays), Wx, Wh, b, packing)
    return packing.unpack(h, x.shape[1]), cache


def sequence_backward(cell: Cell, dh: Array, cache: ScanCache) -> tuple[Array, CellState, Array, Array, Array]:
    """Run `scan_backward` over N sequences of T steps.

    Shapes: dh (N, T, H) -> dx (N, T, D), dinitial arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    packing = cache.packing
    dx, dinitial, dWx, dWh, db = scan_backward(cell, dh[packing.caption, packing.time], cache)
    return packing.unpack(dx, dh.shape[1]), dinitial, dWx, dWh, db
