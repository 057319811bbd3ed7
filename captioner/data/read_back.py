"""Datasets that are written to a file together with a digest of each, by which the finished file is compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import ROWS_AT_ONCE, Features
from captioner.errors import DataError
from captioner.storage.hdf5 import Stored, open_dataset

KINDS = {"f": "f", "i": "iu", "u": "iu", "S": "S"}
BLOCK = 1 << 24


class _Array(NamedTuple):
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    digest: str


class Writer:
    """Writes arrays into an open HDF5 file, and keeps type, shape and SHA-256 of each as they are in memory."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._arrays: dict[str, _Array] = {}

    def add(self, name: str, array: Array) -> None:
        """Write a whole array."""
        self._file[name] = array
        self._arrays[name] = _Array(array.dtype, array.shape, _digest([array]))

    def add_rows(self, name: str, features: Features) -> None:
        """Write features block by block.

        Shapes: (M, F).
        """
        dtype = features.dtype.newbyteorder("=")
        stored = self._file.create_dataset(name, features.shape, dtype)

        def blocks() -> Iterator[Array]:
            for first in range(0, len(stored), ROWS_AT_ONCE):
                block = np.asarray(features[first : first + ROWS_AT_ONCE], dtype)
                stored[first : first + ROWS_AT_ONCE] = block
                yield block

        digest = _digest(blocks())
        self._arrays[name] = _Array(dtype, stored.shape, digest)

    def difference(self, path: Path, descriptor: int) -> str:
        """What the file at `descriptor` holds otherwise than what was added; "" where nothing differs."""
        for name, (dtype, shape, digest) in self._arrays.items():
            try:
                stored = open_dataset(path, name, numbers=KINDS[dtype.kind], ndim=len(shape), descriptor=descriptor)
                expected, got = (
                    f"{kind} {size}" for kind, size in ((dtype, shape), (stored.dtype, stored.values.shape))
                )
                if expected != got:
                    return f"dataset {name!r}: expected {expected}, got {got}"
                if _digest(_blocks(stored)) != digest:
                    return f"dataset {name!r}: its content differs"
            except DataError as error:
                return str(error).removeprefix(f"{path}: ")
        return ""


def _blocks(stored: Stored) -> Iterator[Array]:
    if not stored.values.shape:
        yield stored[()]
        return
    rows = max(1, BLOCK * len(stored.values) // max(1, stored.values.nbytes))
    for first in range(0, len(stored.values), rows):
        yield stored[first : first + rows]


def _digest(blocks: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
