"""Rows that share arrays, and conversion between float types."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.arrays import SharedRows, cast


@given(st.lists(st.integers(0, 7), min_size=1, max_size=12), st.data())
def test_a_selection_of_rows_has_their_arrays(index: list[int], data: st.DataObject) -> None:
    shared = SharedRows(np.arange(16.0).reshape(8, 2), np.array(index))
    rows = data.draw(st.lists(st.integers(0, len(index) - 1)))
    some = shared[np.array(rows, int)]
    assert len(some) == len(rows)
    np.testing.assert_array_equal(some.values[some.index], shared.values[shared.index[np.array(rows, int)]])
    assert len(some.values) == 8 or len(some.values) <= 4


def test_a_selection_copies_the_arrays_only_if_it_uses_at_most_half() -> None:
    shared = SharedRows.separate(np.zeros((4, 2)))
    assert shared[np.array([0, 0, 1, 2])].values is shared.values
    assert shared[np.array([True, False, False, True])].values.shape == (2, 2)


def test_a_cast_keeps_all_numbers_that_fit() -> None:
    half = cast(np.array([1.5, -65504.0]), np.float16)
    assert half is not None
    assert (half.dtype, half.tolist()) == (np.float16, [1.5, -65504.0])


@pytest.mark.parametrize("number", [70000.0, -70000.0, np.inf, np.nan])
def test_a_cast_refuses_a_number_that_is_not_finite_in_the_type(number: float) -> None:
    assert cast(np.array([1.0, number]), np.float16) is None
