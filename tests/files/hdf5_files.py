"""HDF5 files for tests, and the error of `open_dataset`."""

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from captioner.errors import DataError
from captioner.files.hdf5 import open_dataset

HINT = "it may be damaged, truncated or still being written: try a new copy"
MATRIX = np.arange(60, dtype=np.float32).reshape(20, 3)
CHUNKED = {"chunks": (7, 2), "compression": "gzip", "shuffle": True}


def stored_in(path, values=MATRIX, **options):
    """Write an array to a file and open it."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **options)
    return open_dataset(path, "x", numbers="f", ndim=values.ndim)


def error_of(path, name="x", **expected):
    with pytest.raises(DataError) as caught:
        open_dataset(path, name, **{"numbers": "f", "ndim": 2, **expected}).read()
    message = str(caught.value)
    assert "\n" not in message
    return message


def low_level(file, name, kind, configure):
    """Create a dataset with properties that h5py's create_dataset does not support."""
    plan = h5p.create(h5p.DATASET_CREATE)
    configure(plan)
    dataset = h5d.create(file.id, name.encode(), kind, h5s.create_simple(MATRIX.shape), plan)
    dataset.write(h5s.ALL, h5s.ALL, MATRIX)


def gzip_twice(plan):
    plan.set_chunk((5, 3))
    plan.set_deflate(1)
    plan.set_deflate(1)


def seventeen_bits():
    kind = h5t.STD_I32LE.copy()
    kind.set_precision(17)
    return kind


def virtual(file, name, source, **shape):
    layout = h5py.VirtualLayout((20, 3), "f4", **shape)
    rows = slice(0, h5s.UNLIMITED) if shape else slice(None)
    layout[rows, :] = h5py.VirtualSource(source, "x", shape=(20, 3), **shape)[rows, :]
    file.create_virtual_dataset(name, layout)
