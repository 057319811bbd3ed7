"""Files of features, and every index of their rows."""

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

CHUNKED = {"chunks": (7, 2), "compression": "gzip", "shuffle": True}


def write(path, values, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=values, **options)
    return path


def index_of(rows):
    """Anything that takes rows of an array: numbers in any order and shape, slices, masks, one number."""
    numbers = st.integers(-rows, rows - 1)
    return st.one_of(
        hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9), elements=numbers),
        st.slices(rows),
        hnp.arrays(bool, rows),
        numbers,
    )
