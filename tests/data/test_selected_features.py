"""Selected rows of features, converted to another float type."""

import numpy as np
import pytest
from feature_files import index_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captioner.data.features import SelectedFeatures
from captioner.errors import DataError


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
