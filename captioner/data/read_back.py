"""Write HDF5 datasets with a hash of each, and verify the finished file by reading it back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from captioner.arrays import Array
from captioner.data.blocks import blocks
from captioner.data.corpus import Features
from captioner.errors import DataError
from captioner.storage.hdf5 import CheckedDataset, open_dataset

KINDS = {"f": "f", "i": "iu", "u": "iu", "S": "S"}
BLOCK = 1 << 24


class _Fingerprint(NamedTuple):
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    digest: str


class VerifyingWriter:
    """Writer of arrays into an open HDF5 file that keeps the dtype, shape and SHA-256 of each array in memory."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._arrays: dict[str, _Fingerprint] = {}

    def add(self, name: str, array: Array) -> None:
        """Write an array."""
        self._file[name] = array
        self._arrays[name] = _Fingerprint(array.dtype, array.shape, _digest([array]))

    def add_rows(self, name: str, features: Features) -> None:
        """Write features or regions by blocks of rows.

        Shapes: (M, ...).
        """
        dtype = features.dtype.newbyteorder("=")
        stored = self._file.create_dataset(name, features.shape, dtype)

        def written() -> Iterator[Array]:
            for first, rows in blocks(features):
                block = np.asarray(rows, dtype)
                stored[first : first + len(block)] = block
                yield block

        digest = _digest(written())
        self._arrays[name] = _Fingerprint(dtype, stored.shape, digest)

    def difference(self, path: Path, descriptor: int) -> str:
        """Read back the file at `descriptor`; return its first difference from the written arrays, or "" if none."""
        for name, (dtype, shape, digest) in self._arrays.items():
            try:
                stored = open_dataset(path, name, numbers=KINDS[dtype.kind], ndim=len(shape), descriptor=descriptor)
                expected, got = (
                    f"{kind} {size}" for kind, size in ((dtype, shape), (stored.dtype, stored.values.shape))
                )
                if expected != got:
                    return f"dataset {name!r}: expected {expected}, got {got}"
                if _digest(_blocks(stored)) != digest:
                    return f"dataset {name!r}: content differs"
            except DataError as error:
                return str(error).removeprefix(f"{path}: ")
        return ""


def _blocks(stored: CheckedDataset) -> Iterator[Array]:
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
