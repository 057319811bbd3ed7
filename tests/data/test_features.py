"""Features of any storage are read as the rows of an array, selected, converted and standardized."""

import os
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captioner.data import corpus as blocks_module
from captioner.data import features as module
from captioner.data.features import (
    ChunkedFeatures,
    ContiguousFeatures,
    SelectedFeatures,
    open_features,
    standardization,
)
from captioner.errors import DataError

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


SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40) | hnp.array_shapes(min_dims=4, max_dims=4, max_side=5)


@given(data=st.data(), shape=SHAPES, dtype=st.sampled_from(["f2", "f4", "f8"]))
def test_all_storage_types_return_the_rows_of_the_array(tmp_path_factory, data, shape, dtype):
    """Features have two axes, regions four."""
    rows, ndim = shape[0], len(shape)
    values = np.random.default_rng(rows).standard_normal(shape).astype(dtype)
    folder = tmp_path_factory.mktemp("routes")
    plain = write(folder / "plain.h5", values)
    swapped = write(folder / "swapped.h5", values.astype(values.dtype.newbyteorder(">")))
    chunks = {**CHUNKED, "chunks": tuple(min(7, side) for side in shape)}
    chunked = write(folder / "chunked.h5", values, maxshape=(None,) * ndim, **chunks)
    routes = {
        "array": open_features(plain, ndim=ndim),
        "swapped array": open_features(swapped, ndim=ndim),
        "unpacked array": open_features(chunked, ndim=ndim),
        "pages": open_features(plain, memory_mib=0, ndim=ndim),
        "rows of foreign order": open_features(swapped, memory_mib=0, ndim=ndim),
        "rows of chunks": open_features(chunked, memory_mib=0, ndim=ndim),
    }
    assert [type(features) for features in routes.values()] == [np.ndarray] * 3 + [ContiguousFeatures] + [
        ChunkedFeatures
    ] * 2
    order = np.random.default_rng(0).permutation(rows)
    routes["selected twice"] = SelectedFeatures(SelectedFeatures(routes["pages"], order), np.argsort(order))
    index = data.draw(index_of(rows))
    for route, features in routes.items():
        assert (features.shape, features.dtype) == (values.shape, values.dtype), route
        got = features[index]
        assert (got.dtype, got.shape) == (values.dtype, values[index].shape), route
        assert np.array_equal(got, values[index]), route
        assert got.flags.writeable, route


@pytest.mark.parametrize("options", [{}, {"chunks": (64, 512)}, {"chunks": (64, 512), "compression": "gzip"}])
def test_features_above_the_budget_stay_in_the_file(tmp_path, options):
    values = np.random.default_rng(0).random((600, 512), np.float32)
    path = write(tmp_path / "a.h5", values, **options)
    whole, part = open_features(path, memory_mib=2), open_features(path, memory_mib=1)
    assert whole.flags.owndata
    assert isinstance(part, ChunkedFeatures if options else ContiguousFeatures)
    index = np.array([[599, 0], [3, 599]])
    for features in (whole, part):
        assert np.array_equal(features[index], values[index])
        assert np.array_equal(features[590:700], values[590:])


def test_rows_of_a_truncated_file_are_reported(tmp_path):
    path = write(tmp_path / "a.h5", np.ones((100, 50), np.float32))
    features = open_features(path, memory_mib=0)
    os.truncate(path, path.stat().st_size - 200 * 20)
    for index, row in ((slice(0, 100), 0), ([0, 95], 95), (99, 99)):
        with pytest.raises(DataError) as caught:
            features[index]
        expected = f"{path}: dataset 'features': row {row}: the file was truncated; try a fresh copy"
        assert str(caught.value) == expected


@pytest.mark.parametrize("chunks", [None, (10, 50)], ids=["contiguous", "chunked"])
def test_rows_of_a_modified_file_are_rejected(chunks, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.ones((100, 50), np.float32), chunks=chunks)
    features = open_features(path, memory_mib=0)
    assert features[:70].sum() == features[[69] * 70].sum() == 70 * 50
    with open(path, "r+b") as file:
        file.seek(-200, os.SEEK_END)
        file.write(b"\0" * 4)
    os.utime(path, ns=(1, 1))  # whatever the grain of the system's clock
    for index in (slice(0, 10), [0, 95], 99):
        with pytest.raises(DataError) as caught:
            features[index]
        expected = f"{path}: dataset 'features': the file was written to while it was in use; leave it alone, and"
        assert str(caught.value).startswith(expected)


def test_a_replaced_file_keeps_its_old_rows(tmp_path):
    values = np.random.default_rng(0).random((100, 50), np.float32)
    path = write(tmp_path / "a.h5", values)
    features = open_features(path, memory_mib=0)
    os.replace(write(tmp_path / "b.h5", -values), path)
    assert np.array_equal(features[:], values)


def test_partial_reads_are_completed(tmp_path, monkeypatch):
    values = np.random.default_rng(0).random((9, 50), np.float32)
    features = open_features(write(tmp_path / "a.h5", values), memory_mib=0)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, start: preadv(file, [part[:7] for part in into], start))
    assert np.array_equal(features[:], values)
    assert np.array_equal(features[[8, 0]], values[[8, 0]])


def test_a_system_error_is_one_line(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", np.ones((9, 5), np.float32))
    features = open_features(path, memory_mib=0)

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(
        DataError, match=r"a\.h5: dataset 'features': cannot be read \(.*Input/output error\); it may be"
    ):
        features[:]


def test_concurrent_threads_read_their_requested_rows(tmp_path):
    values = np.arange(400, dtype=np.float32).repeat(64).reshape(400, 64)
    features = open_features(write(tmp_path / "a.h5", values), memory_mib=0)
    orders = [np.random.default_rng(seed).permutation(400) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for order, got in zip(orders, pool.map(features.__getitem__, orders), strict=True):
            assert np.array_equal(got, values[order])
    os.truncate(tmp_path / "a.h5", 2000)
    with pytest.raises(DataError, match="the file was truncated"):
        features[:]


def test_the_budget_of_chunked_features_counts_decompressed_chunks(tmp_path):
    path = write(tmp_path / "a.h5", np.ones((600, 512), np.float32), chunks=(64, 512), compression="gzip")
    features = open_features(path, memory_mib=1)
    assert features._stored.values.id.get_access_plist().get_chunk_cache()[1] == 1 << 20


class RecordingDataset:
    """A stored dataset that notes what is read of it."""

    def __init__(self, values):
        self.values, self.dtype, self.reads = values, values.dtype, []

    def __getitem__(self, rows):
        self.reads.append(rows)
        return self.values[rows]


@given(index=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 4999)))
def test_chunked_rows_are_read_once_in_ascending_order(index):
    spy = RecordingDataset(np.arange(10_000.0).reshape(5000, 2))
    assert np.array_equal(ChunkedFeatures(spy)[index], spy.values[index])
    (read,) = spy.reads
    if isinstance(read, slice):
        assert read.stop - read.start <= module.DENSE * len(index)
    else:
        assert (np.diff(read) > 0).all()


def test_rows_out_of_range_raise_index_error(tmp_path):
    features = open_features(write(tmp_path / "a.h5", np.ones((9, 2)), **CHUNKED), memory_mib=0)
    for index in (9, -10, [0, 9], np.ones(8, bool)):
        with pytest.raises(IndexError):
            features[index]


def test_a_damaged_chunk_is_reported_on_reading(tmp_path):
    path = write(tmp_path / "a.h5", np.ones((14, 2)), **CHUNKED)
    with h5py.File(path, "r+") as file:
        file["features"].id.write_direct_chunk((7, 0), b"not what gzip writes")
    features = open_features(path, memory_mib=0)
    assert features[:7].sum() == 14
    for index in (slice(7, 9), [0, 13]):
        with pytest.raises(DataError, match=r"a\.h5: dataset 'features': cannot be read \(.+\); it may be"):
            features[index]


# --- selected rows


@given(
    data=st.data(), rows=st.integers(1, 20), dtype=st.sampled_from(["f2", "f4", None]), source=st.sampled_from("efd")
)
def test_selected_rows_equal_a_cast_array(data, rows, dtype, source):
    values = np.random.default_rng(rows).standard_normal((12, 3)).astype(source)
    order = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 11)))
    selected = SelectedFeatures(values, order, dtype and np.dtype(dtype))
    expected = values[order].astype(dtype or source)
    assert (selected.shape, selected.dtype) == (expected.shape, expected.dtype)
    index = data.draw(index_of(rows))
    got = selected[index]
    assert (got.dtype, got.shape) == (expected.dtype, expected[index].shape)
    assert np.array_equal(got, expected[index])


def test_overflow_of_a_cast_is_reported_on_reading():
    values = np.array([[1, 2], [3, -7e4], [5, 6]], np.float32)
    selected = SelectedFeatures(values, np.array([2, 1, 0]), np.dtype(np.float16))
    assert selected[[0, 2]].tolist() == [[5, 6], [1, 2]]
    with pytest.raises(DataError) as caught:
        selected[:]
    assert str(caught.value) == "features: expected values in the range of float16, got 70000; try float32"
    assert np.isnan(SelectedFeatures(np.array([[np.nan, 7e4]]), np.array([0]), np.dtype(np.float16))[0][0])


# --- standardization


@given(
    rows=st.integers(1, 50),
    columns=st.integers(1, 4),
    block=st.integers(1, 64),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    shift=st.sampled_from([0.0, -7.0, 1e4]),
    dtype=st.sampled_from(["f2", "f4", "f8"]),
)
def test_standardization_is_independent_of_block_size(rows, columns, block, scale, shift, dtype):
    values = (np.random.default_rng(rows).standard_normal((rows, columns)) * scale + shift).astype(dtype)
    exact = values.astype(np.longdouble)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_VALUES", block)
        mean, std = standardization(values)
    assert (mean.dtype, mean.shape, std.dtype, std.shape) == (np.float64, (columns,), np.float64, (columns,))
    expected = exact.std(axis=0)
    assert np.allclose(mean, exact.mean(axis=0), rtol=1e-12, atol=1e-12 * scale)
    assert np.allclose(std, np.where(np.ptp(values, axis=0) == 0, 1, expected), rtol=1e-9, atol=0)


@given(
    value=st.floats(-1e4, 1e4, width=16),
    rows=st.integers(1, 60),
    block=st.integers(1, 20),
    dtype=st.sampled_from("efd"),
)
def test_a_constant_column_has_deviation_one(value, rows, block, dtype):
    values = np.full((rows, 2), value + 0.1, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_VALUES", block)
        mean, std = standardization(values)
    assert std.tolist() == [1.0, 1.0]
    assert mean.tolist() == values[0].tolist()


def test_standardization_of_regions_is_over_all_images_and_regions():
    values = np.random.default_rng(0).gamma(2.0, 3.0, (7, 3, 2, 5))
    for block in (1, 30, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks_module, "BLOCK_VALUES", block)
            mean, std = standardization(values)
        assert np.allclose(mean, values.reshape(-1, 5).mean(axis=0), rtol=1e-12)
        assert np.allclose(std, values.reshape(-1, 5).std(axis=0), rtol=1e-12)
