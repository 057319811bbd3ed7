"""Features or regions of several files as one array, whose rows are read on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Features
from captioner.data.features import open_features
from captioner.errors import DataError
from captioner.storage.files import FileVersion, file_version


class FileFeatures:
    """Rows of a checked HDF5 dataset whose file is open only while rows are read: there may be thousands of files.

    `opened` are the features as they were checked, and `version` is that of their file before that.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    Raises: DataError on reading rows of a file that has changed.
    """

    def __init__(self, path: Path, dataset: str, opened: Features, version: FileVersion | None) -> None:
        self._path, self._dataset, self._version = path, dataset, version
        self.shape: tuple[int, ...] = tuple(opened.shape)
        self.dtype: np.dtype[Any] = opened.dtype

    def __getitem__(self, rows: Any, /) -> Array:
        features = open_features(self._path, self._dataset, memory_mib=0, ndim=len(self.shape))
        found = np.asarray(features[rows])
        if file_version(self._path) != self._version:
            raise DataError(f"{self._path}: the file was replaced while it was in use; leave it alone, and start again")
        return found


class ConcatenatedFeatures:
    """The rows of several features of one shape and dtype, one after the other.

    Shapes: index of shape S -> S + (F,), or S + (rows, columns, R) for regions.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self._parts = parts
        self._ends = np.cumsum([part.shape[0] for part in parts])
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = parts[0].dtype
        self._numbers = np.arange(self.shape[0])

    def __getitem__(self, rows: Any, /) -> Array:
        wanted = np.asarray(self._numbers[rows])
        found = np.empty((*wanted.shape, *self.shape[1:]), self.dtype)
        owners = np.searchsorted(self._ends, wanted, side="right")
        for owner in np.unique(owners).tolist():
            part, here = self._parts[owner], owners == owner
            own = wanted[here] - (self._ends[owner] - part.shape[0])
            # consecutive rows are read at once
            found[here] = part[own[0] : own[-1] + 1] if (np.diff(own) == 1).all() else part[own]
        return found
