"""Features are read as the rows of an array, selected, converted and standardized."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captioner import arrays as blocks_module
from captioner.data.features import SelectedFeatures, open_features, rounding_error, standardization
from captioner.files.hdf5 import StoredArray


@pytest.mark.parametrize("options", [{}, {"chunks": (64, 512)}, {"chunks": (64, 512), "compression": "gzip"}])
def test_features_above_the_budget_stay_in_the_file(tmp_path, options):
    values = np.random.default_rng(0).random((600, 512), np.float32)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=values, **options)
    whole, part = open_features(path, memory_mib=2), open_features(path, memory_mib=1)
    assert whole.flags.owndata
    assert isinstance(part, StoredArray)
    index = np.array([[599, 0], [3, 599]])
    for features in (whole, part):
        assert np.array_equal(features[index], values[index])
        assert np.array_equal(features[590:700], values[590:])


# --- selected rows


@given(data=st.data(), rows=st.integers(1, 20), source=st.sampled_from("efd"))
def test_selected_rows_equal_those_of_an_array(data, rows, source):
    values = np.random.default_rng(rows).standard_normal((12, 3)).astype(source)
    order = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, 11)))
    selected = SelectedFeatures(values, order)
    expected = values[order]
    assert (selected.shape, selected.dtype) == (expected.shape, expected.dtype)
    index = data.draw(st.slices(rows) | st.integers(0, rows - 1) | hnp.arrays(bool, rows))
    got = selected[index]
    assert (got.dtype, got.shape) == (expected.dtype, expected[index].shape)
    assert np.array_equal(got, expected[index])


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


def test_the_rounding_error_is_that_of_the_worst_column_that_differs() -> None:
    noise = np.random.default_rng(0).standard_normal((50, 200)).astype(np.float32)
    tiny, one_lost, nearly_constant, huge = (noise.copy() for _ in range(4))
    tiny *= 1e-8
    one_lost[:, 7] = 4096 + 0.1 * noise[:, 7]
    nearly_constant[:, 7] = 4096 + 1e-3 * noise[:, 7]
    nearly_constant[:, 8] = 4096.3
    huge[3, 7] = 1e5
    assert rounding_error(noise, np.float16) < 1e-3
    assert rounding_error(nearly_constant, np.float16) < 1e-3
    assert rounding_error(one_lost, np.float16) > 0.5
    assert rounding_error(tiny, np.float16) > 0.5
    assert rounding_error(huge, np.float16) == np.inf
