"""Numbers and strings of HDF5 files are read; open files are closed."""

import os

import h5py
import numpy as np
import pytest
from h5py import h5d, h5t, h5z
from hdf5_files import MATRIX, error_of, low_level
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.storage import hdf5 as h5
from captioner.storage.hdf5 import open_dataset


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("<f2", {}),
        ("<f4", {}),
        (">f8", {}),
        ("<f4", {"chunks": (7, 2)}),
        ("<f4", {"chunks": (7, 2), "maxshape": (None, 3)}),
        (">f4", {"compression": "gzip", "shuffle": True}),
        ("<f2", {"compression": "lzf", "chunks": (20, 3)}),
    ],
)
def test_numbers_are_read_in_native_byte_order(tmp_path, dtype, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("group/x", data=MATRIX.astype(dtype), **options)
    stored = open_dataset(path, "group/x", numbers="f", ndim=2)
    assert stored.dtype.isnative
    assert stored.dtype == np.dtype(dtype).newbyteorder("=")
    assert (stored.offset is None) == (bool(options) or not np.dtype(dtype).isnative)
    for rows in (slice(None), slice(3, 8), np.array([0, 4, 19])):
        got = stored[rows]
        assert got.dtype == stored.dtype
        assert np.array_equal(got, MATRIX[rows])


def test_compact_numbers_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        low_level(file, "x", h5t.IEEE_F32LE, lambda plan: plan.set_layout(h5d.COMPACT))
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    assert stored.offset is None
    assert np.array_equal(stored[:], MATRIX)


@given(userblock=st.sampled_from([0, 512, 1024]), before=st.integers(1, 9))
def test_the_numbers_are_at_the_offset_of_the_descriptor(tmp_path_factory, userblock, before):
    path = tmp_path_factory.mktemp("direct") / "a.h5"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["odd"] = np.zeros(before, "i1")
        file["x"] = MATRIX
    stored = open_dataset(path, "x", numbers="f", ndim=2)
    assert os.path.samefile(f"/dev/fd/{stored.file.number}", path)
    assert os.pread(stored.file.number, MATRIX.nbytes, stored.offset) == MATRIX.tobytes()


def test_a_file_that_is_already_open_is_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
    with h5py.File(path) as file:
        assert np.array_equal(open_dataset(path, "x", numbers="f", ndim=2)[:], file["x"])


def test_no_descriptor_outlives_its_dataset(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["y"] = MATRIX[0]
    kept, before = [], len(os.listdir("/dev/fd"))
    for _ in range(3):
        open_dataset(path, "x", numbers="f", ndim=2)[:]
        with pytest.raises(DataError) as caught:
            open_dataset(path, "y", numbers="f", ndim=2)
        kept.append(caught)  # keeps the frames of the traceback alive, as a notebook does
    assert len(os.listdir("/dev/fd")) == before


def test_integers_are_read_only_as_integers(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = MATRIX
        file["u"] = np.arange(3, dtype="u2")
    assert open_dataset(path, "u", numbers="iu", ndim=1)[:].tolist() == [0, 1, 2]
    expected = f"{path}: dataset 'x': expected integers (rows,), got float32 (20, 3)"
    assert error_of(path, numbers="iu", ndim=1) == expected


TEXTS = ["a", "", "naïve", "猫"]


@pytest.mark.parametrize("options", [{}, {"chunks": (3,), "compression": "gzip"}])
def test_fixed_length_strings_are_read_as_bytes(tmp_path, options):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.array([text.encode() for text in TEXTS]), **options)
        file["one"] = np.bytes_(b"alone")
    stored = open_dataset(path, "x", numbers="S", ndim=1)
    assert [text.decode() for text in stored[()].tolist()] == TEXTS
    assert [text.decode() for text in stored[1:3].tolist()] == TEXTS[1:3]
    assert open_dataset(path, "one", numbers="S", ndim=0)[()].item() == b"alone"


def test_every_allowed_filter_is_available_in_h5py():
    assert all(h5z.filter_avail(code) for code in h5.FILTERS)
