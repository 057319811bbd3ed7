"""Encoded features and regions in a temporary file, so that they need no memory."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError


class Spool:
    """Rows of features, and of regions if `regions` is the shape of an image's, in an empty open file."""

    def __init__(
        self, file: BinaryIO, width: int, dtype: np.dtype[np.floating], regions: tuple[int, ...] | None
    ) -> None:
        shapes = {"features": (width,), **({"regions": regions} if regions else {})}
        self._names = list(shapes)
        self._row = np.dtype([(name, dtype, shape) for name, shape in shapes.items()])
        self._file, self._dtype, self._count = file, dtype, 0

    def add(self, features: Array, regions: Array | None = None) -> int:
        """Append a row and return its number.

        Raises: DataError if a number is not finite in the stored type; OSError.
        """
        row = np.zeros((), self._row)
        for name, values in zip(self._names, (features, regions), strict=False):
            with np.errstate(over="ignore"):
                row[name] = values
            if not np.isfinite(row[name]).all():
                largest = np.abs(np.asarray(values)).max()
                raise DataError(f"{name}: expected numbers in the range of {self._dtype}, got {largest:g}; try float32")
        self._file.write(row.tobytes())
        self._count += 1
        return self._count - 1

    def rows(self) -> tuple[Array, Array | None]:
        """Memory-map the features, and the regions if there are any; the file may be closed afterwards.

        Shapes: features (images, F), regions (images, rows, columns, R).
        """
        self._file.flush()
        rows = np.memmap(self._file, self._row, "r", shape=(self._count,))
        return rows["features"], rows["regions"] if "regions" in self._names else None
