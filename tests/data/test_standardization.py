"""Mean and deviation of features and regions, computed block by block."""

import numpy as np
import pytest
from feature_files import write
from hypothesis import given
from hypothesis import strategies as st

from captioner.data import corpus as blocks_module
from captioner.data.features import ChunkedFeatures, open_features, standardization


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


def test_standardized_columns_have_mean_zero_and_deviation_one(tmp_path):
    values = np.random.default_rng(0).gamma(2.0, 3.0, (500, 6))
    features = open_features(write(tmp_path / "a.h5", values, chunks=(64, 6)), memory_mib=0)
    assert isinstance(features, ChunkedFeatures)
    mean, std = standardization(features)
    scaled = (values - mean) / std
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(scaled.std(axis=0), 1, atol=1e-12)
