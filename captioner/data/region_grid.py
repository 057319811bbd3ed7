"""The grid that the regions of an image form."""

from __future__ import annotations

import math


def region_grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns of the grid of regions, from the shape of an array of the regions of images.

    Without rows and columns in the shape, the L regions, in reading order, are a square, or one row if they cannot be.

    Shapes: (M, rows, columns, R) or (M, L, R).
    """
    if len(shape) == 4:
        return shape[1], shape[2]
    side = math.isqrt(shape[1])
    return (side, side) if side * side == shape[1] else (1, shape[1])
