"""Features or regions in blocks of rows, to bound the memory that a pass over them needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from captioner.arrays import Array

if TYPE_CHECKING:
    from captioner.data.corpus import Features

BLOCK_VALUES = 1 << 20


def blocks(features: Features, max_rows: int | None = None) -> Iterator[tuple[int, Array]]:
    """Yield all rows, or the first `max_rows`, in blocks of at most `BLOCK_VALUES` values or of one row.

    Each block is preceded by the number of its first row.

    Shapes: features (M, ...).
    """
    count = min(features.shape[0], max_rows or features.shape[0])
    step = max(1, BLOCK_VALUES // max(1, math.prod(features.shape[1:])))
    for first in range(0, count, step):
        yield first, features[first : min(first + step, count)]
