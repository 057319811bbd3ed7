"""Array types for all signatures, the training batch, and conversion between float types."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
"""A NumPy array; the docstring of each function gives its shape and dtype."""

Params: TypeAlias = dict[str, Array]
"""Parameters of a model, or their gradients, by name."""

BLOCK_VALUES = 1 << 20
"""The number of values to read at once from an array that may not fit in memory."""


class Rows(Protocol):
    """An array of rows: in memory, or read on demand."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...


def blocks(array: Rows, max_rows: int | None = None) -> Iterator[tuple[int, Array]]:
    """Yield all rows, or the first `max_rows`, in blocks of at most `BLOCK_VALUES` values or of one row.

    Each block is preceded by the number of its first row.

    Shapes: array (M, ...).
    """
    count = min(array.shape[0], max_rows or array.shape[0])
    step = max(1, BLOCK_VALUES // max(1, math.prod(array.shape[1:])))
    for first in range(0, count, step):
        yield first, array[first : min(first + step, count)]


def cast(array: Array, dtype: DTypeLike) -> Array | None:
    """Convert an array to a float type; return None if a number is not finite in this type."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted: Array = array.astype(dtype)
    return converted if np.isfinite(converted).all() else None


def evenly_spaced(count: int, size: int) -> Array:
    """Return all numbers below `count`, or `size` of them at even distances. Shapes: -> (at most `size`,)."""
    return np.unique(np.linspace(0, count - 1, min(size, count)).astype(int))


def normalize_rows(vectors: Array) -> Array:
    """Scale every non-zero row to unit length.

    Shapes: (N, F) -> (N, F) float32.
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1), np.float32)


def unit_rows(features: Array, mean: Array, std: Array) -> Array:
    """Standardize features and scale each row to unit length. Shapes: (N, F), (F,), (F,) -> (N, F) float32."""
    return normalize_rows((features.astype(np.float64) - mean) / std)


@dataclass(frozen=True)
class SharedRows:
    """N rows that share M arrays: row n is values[index[n]].

    The captions of an image share its regions, and the beams of an image share its keys. Selecting rows copies only the
    index, and also the arrays once at most half of them are used.

    Shapes: values (M, ...), index (N,).
    """

    values: Array
    index: Array

    @classmethod
    def separate(cls, values: Array) -> SharedRows:
        """Return one row per array."""
        return cls(values, np.arange(len(values)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Any, /) -> SharedRows:
        index = self.index[rows]
        used, place = np.unique(index, return_inverse=True)
        if 2 * len(used) > len(self.values):
            return SharedRows(self.values, index)
        return SharedRows(self.values[used], place)


class BatchPart(NamedTuple):
    """Which captions of a batch one of several ranks computes. Dropout noise is drawn for the whole batch.

    Shapes: rows (n,) captions among the N of the batch; lengths (N,) steps of all captions; images (m,) arrays of
    regions among those of the M = `image_count` different images of the batch.
    """

    rows: Array
    lengths: Array
    images: Array
    image_count: int


class Batch(NamedTuple):
    """The captions of one training step, with the metrics to record for it.

    `weights`, if given, multiply the loss of each caption: loss = 1/N Σ_n weights_n loss_n. `metrics` are named values
    recorded with the step. If several ranks share the batch, `part` says which captions these are; N in the loss is
    that of the whole batch.

    Shapes: features (N, F), captions (N, T), regions of N rows and values (M, L, R), weights (N,).
    """

    features: Array
    captions: Array
    regions: SharedRows | None = None
    weights: Array | None = None
    metrics: Mapping[str, float] = {}
    part: BatchPart | None = None

    @property
    def size(self) -> int:
        """N, the number of captions of the whole batch."""
        return len(self.captions if self.part is None else self.part.lengths)
