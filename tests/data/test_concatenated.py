"""Features of several files as one array."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.blocks import blocks
from captioner.data.concatenated import ConcatenatedFeatures, FileFeatures
from captioner.data.features import open_features
from captioner.errors import DataError
from captioner.storage.files import file_version

RNG = np.random.default_rng(0)


def stored(path: Path, values: np.ndarray, **options: Any) -> FileFeatures:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=values, **options)
    version = file_version(path)
    return FileFeatures(path, "features", open_features(path, memory_mib=0, ndim=values.ndim), version)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_rows_are_those_of_the_concatenated_arrays(sizes: list[int], data: st.DataObject) -> None:
    parts = [RNG.standard_normal((size, 3)) for size in sizes]
    whole, found = np.concatenate(parts), ConcatenatedFeatures(parts)
    assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
    rows = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6))
    np.testing.assert_array_equal(found[np.array(rows, int)], whole[np.array(rows, int)])
    first, last = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    np.testing.assert_array_equal(found[first:last], whole[first:last])
    np.testing.assert_array_equal(found[len(whole) - 1], whole[-1])


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2, 2, 1, 3), "compression": "gzip"}], ids=["contiguous", "chunked"]
)
def test_files_are_open_only_while_rows_are_read(options: dict[str, Any], tmp_path: Path) -> None:
    parts = [RNG.standard_normal((size, 2, 2, 3)).astype("f2") for size in (4, 3, 5)]
    before = len(os.listdir("/dev/fd"))
    found = ConcatenatedFeatures([stored(tmp_path / f"{n}.h5", part, **options) for n, part in enumerate(parts)])
    assert len(os.listdir("/dev/fd")) == before
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks(found)]), np.concatenate(parts))
    np.testing.assert_array_equal(found[np.array([11, 0, 5, 0])], np.concatenate(parts)[[11, 0, 5, 0]])
    assert len(os.listdir("/dev/fd")) == before


def test_a_replaced_file_is_not_read(tmp_path: Path) -> None:
    values = RNG.standard_normal((4, 3))
    features = stored(tmp_path / "a.h5", values)
    np.testing.assert_array_equal(features[1:3], values[1:3])
    stored(tmp_path / "b.h5", values + 1)
    (tmp_path / "b.h5").replace(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"a\.h5: the file was replaced while it was in use; leave it alone"):
        features[1:3]
    (tmp_path / "a.h5").unlink()
    with pytest.raises(DataError, match=r"a\.h5: not found"):
        features[1:3]
