"""Image features or regions in an HDF5 file: an array if they fit in memory, else rows that are read on demand."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Features, blocks
from captioner.errors import DataError
from captioner.storage.hdf5 import CheckedDataset, convert_hdf5_errors, open_dataset

DENSE = 16
"""Selecting one row costs HDF5 about as much as reading this many contiguous rows."""
MOST_MIB = 1 << 30
MEMORY_MIB = 1024
"""The default of `data.memory_mib` for callers without a config."""


class ChunkedFeatures:
    """Rows of an HDF5 dataset, read on demand by any NumPy row index: a contiguous range, or distinct ascending rows.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    """

    def __init__(self, stored: CheckedDataset) -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = stored.values.shape
        self.dtype = stored.dtype
        self._numbers = np.arange(self.shape[0])

    def __getitem__(self, rows: Any, /) -> Array:
        wanted = np.asarray(self._numbers[rows])
        if not wanted.size:
            return np.empty((*wanted.shape, *self.shape[1:]), self.dtype)
        first, last = int(wanted.min()), int(wanted.max())
        if last - first < DENSE * wanted.size:
            read, place = self._stored[first : last + 1], wanted - first
        else:
            ascending, place = np.unique(wanted, return_inverse=True)
            read, place = self._stored[ascending], place.reshape(wanted.shape)
        return np.asarray(read[place])


class ContiguousFeatures:
    """Rows of a contiguous, native-endian dataset, read at their offsets without HDF5 and without a cache.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    """

    def __init__(self, stored: CheckedDataset, offset: int) -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = stored.values.shape
        self.dtype = stored.dtype
        self._descriptor, self._offset = stored.file.number, offset
        self._size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._numbers = np.arange(self.shape[0])

    def __getitem__(self, rows: Any, /) -> Array:
        wanted = np.asarray(self._numbers[rows])
        values = np.empty((*wanted.shape, *self.shape[1:]), self.dtype)
        places: Any = values.reshape(-1).view(np.uint8).reshape(wanted.size, self._size)
        with convert_hdf5_errors(self._stored.where):
            if isinstance(rows, slice) and rows.step in (None, 1) and wanted.size:
                self._read(int(wanted[0]), memoryview(places.ravel()))
            else:
                for row, place in zip(wanted.ravel().tolist(), places, strict=True):
                    self._read(row, memoryview(place))
        self._stored.check_unchanged()
        return values

    def _read(self, row: int, into: memoryview) -> None:
        start = self._offset + row * self._size
        while into:  # Linux reads at most 2 GiB per call
            count = os.preadv(self._descriptor, [into], start)
            if not count:
                raise DataError(f"{self._stored.where}: row {row}: the file was truncated; try a fresh copy")
            into, start = into[count:], start + count


class SelectedFeatures:
    """Selected rows of other features, optionally cast to another dtype.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    Raises: DataError on reading rows that overflow the dtype.
    """

    def __init__(self, features: Features, rows: Array, dtype: np.dtype[Any] | None = None) -> None:
        self._features, self._rows = features, rows
        self.shape = len(rows), *features.shape[1:]
        self.dtype = dtype or features.dtype

    def __getitem__(self, rows: Any, /) -> Array:
        values = self._features[self._rows[rows]]
        with np.errstate(over="ignore"):
            converted = np.asarray(values, self.dtype)
        if np.isinf(converted).any() and np.isfinite(values).all():
            largest = np.abs(values).max()
            raise DataError(f"features: expected values in the range of {self.dtype}, got {largest:g}; try float32")
        return converted


def open_features(
    path: str | os.PathLike[str],
    dataset: str = "features",
    memory_mib: int = MEMORY_MIB,
    descriptor: int | None = None,
    ndim: int = 2,
) -> Features:
    """Open features in their stored dtype: as an array up to `memory_mib`, else as rows read on demand.

    `descriptor` is the file descriptor if the file is already open; `ndim` is 4 for regions (images, rows, columns, R).

    Raises: DataError for an invalid file or dataset, here or when rows are read.
    """
    budget = min(memory_mib, MOST_MIB) << 20
    stored = open_dataset(path, dataset, numbers="f", ndim=ndim, cache=budget, descriptor=descriptor)
    if stored.values.nbytes <= budget:
        return stored[:]
    return ChunkedFeatures(stored) if stored.offset is None else ContiguousFeatures(stored, stored.offset)


def memory_of(*features: Features | None) -> int:
    """Return the MiB of memory that features use, each rounded down; features on disk use none."""
    return sum(array.nbytes >> 20 for array in features if isinstance(array, np.ndarray))


def standardization(features: Features) -> tuple[Array, Array]:
    """Compute the mean and standard deviation of each column by blocks; the deviation of a constant column is 1.

    The rows of features are their images; those of regions are the regions of all images.

        m = m_a + δ n_b/n,   M = M_a + M_b + δ² n_a n_b/n,   δ = m_b − m_a,   std = sqrt(M/n)

    Shapes: features (M, F), or regions (M, rows, columns, F) -> mean (F,) float64, std (F,) float64.
    Source: Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
    """
    width, done = features.shape[-1], 0
    # after subtracting the first row, a constant column is exactly 0: rounding cannot make its deviation nonzero
    origin = features[0].reshape(-1, width)[0].astype(np.float64)
    mean, squares = np.zeros(width), np.zeros(width)
    for _, rows in blocks(features):
        block = rows.reshape(-1, width) - origin
        block_mean = block.mean(axis=0)
        new, delta = len(block), block_mean - mean
        mean += delta * new / (done + new)
        squares += np.square(block - block_mean).sum(axis=0) + delta**2 * done * new / (done + new)
        done += new
    std = np.sqrt(squares / done)
    return origin + mean, np.where(std == 0, 1.0, std)
