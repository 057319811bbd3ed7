"""Image features or regions in an HDF5 file: an array if they fit in memory, else rows that are read on demand."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from captioner.arrays import Array, blocks
from captioner.data.corpus import Features
from captioner.data.image_names import image_name
from captioner.errors import DataError, quoted
from captioner.files.hdf5 import StoredArray, open_dataset

MOST_MIB = 1 << 30
MIN_STD = 1e-12
"""The minimum standard deviation of a column: standardized numbers of up to 1e7 have finite squares in float32."""
MEMORY_MIB = 1024
"""The default of `data.memory_mib` for callers without a config."""
MAX_ROUNDING_ERROR = 0.1
"""The largest `rounding_error` of features that are stored."""
MIN_RELATIVE_STD = 1 / 100
"""The least standard deviation of a column, relative to the median, that `rounding_error` considers."""


class SelectedFeatures:
    """Selected rows of other features, rounded to `dtype`.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    """

    def __init__(self, features: Features, rows: Array, dtype: DTypeLike | None = None) -> None:
        self._features, self._rows = features, rows
        self.shape = len(rows), *features.shape[1:]
        self.dtype = np.dtype(dtype or features.dtype)

    def __getitem__(self, rows: Any, /) -> Array:
        return np.asarray(self._features[self._rows[rows]], self.dtype)


def open_features(
    path: str | os.PathLike[str], dataset: str = "features", memory_mib: int = MEMORY_MIB, ndim: int = 2
) -> Features:
    """Open features of a user's HDF5 file in their stored dtype: as an array up to `memory_mib`, else read on demand.

    `ndim` is 4 for regions (images, rows, columns, R).

    Raises: DataError for an invalid file or dataset, here or when rows are read.
    """
    cache = min(memory_mib, MOST_MIB) << 20
    return read_if_small(open_dataset(path, dataset, numbers="f", ndim=ndim, cache=cache), memory_mib)


def read_row_names(path: str | os.PathLike[str], count: int) -> list[str]:
    """Read the image names of `count` rows of features from the dataset `images` of the same file.

    Raises: DataError unless there is one name for each row, each once.
    """
    try:
        stored = open_dataset(path, "images", numbers="S", ndim=1).read().tolist()
    except DataError as error:
        raise DataError(f"{error}; expected the image name of each row, such as np.char.encode(names)") from error
    where = f"{os.fspath(path)}: dataset 'images'"
    try:
        names = [image_name(name.decode()) for name in stored]
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected UTF-8 text, got {error.object!r:.80}") from error
    if len(names) != count:
        raise DataError(f"{where}: expected {count:,} names, one per row of features, got {len(names):,}")
    if len(set(names)) < count:
        (twice, _), *_ = Counter(names).most_common(1)
        raise DataError(f"{where}: expected each name once, got {quoted(twice)} twice")
    return names


def read_if_small(stored: StoredArray, memory_mib: int) -> Features:
    """Read a stored array if it needs at most `memory_mib`; otherwise return it, to be read on demand."""
    return stored.read() if stored.nbytes <= min(memory_mib, MOST_MIB) << 20 else stored


def memory_of(*features: Features | None) -> int:
    """Return the MiB of memory that features use, each rounded down; features on disk use none."""
    return sum(array.nbytes >> 20 for array in features if isinstance(array, np.ndarray))


def standardization(features: Features) -> tuple[Array, Array]:
    """Compute the mean and standard deviation of each column by blocks; a deviation below `MIN_STD` is 1.

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
    return origin + mean, np.where(std < MIN_STD, 1.0, std)


def rounding_error(features: Features, dtype: DTypeLike) -> float:
    """Return the largest error of a column by rounding to `dtype`: std(x - round(x)) / std(x).

    It is infinity for a number beyond the range. Columns that hardly differ between images, with deviations below
    `MIN_RELATIVE_STD` of the median, are left out.

    Shapes: as `standardization`.
    """
    _, std = standardization(features)
    sums, squares = np.zeros_like(std), np.zeros_like(std)
    for _, rows in blocks(features):
        with np.errstate(over="ignore"):
            errors = (rows - rows.astype(dtype)).astype(np.float64).reshape(-1, len(std))
        sums += errors.sum(axis=0)
        squares += np.square(errors).sum(axis=0)
    if not np.isfinite(sums).all():
        return math.inf
    count = math.prod(features.shape) // len(std)
    variances = np.maximum(squares / count - np.square(sums / count), 0)
    return math.sqrt((variances / std**2)[std >= MIN_RELATIVE_STD * np.median(std)].max())
