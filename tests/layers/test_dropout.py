"""Inverted dropout: what is dropped, what is scaled, and from which noise."""

import numpy as np
import pytest

from captioner.layers.dropout import dropout_backward, dropout_forward

SHAPE = (400, 500)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_a_share_p_and_keeps_the_expectation(p: float) -> None:
    x = np.full(SHAPE, 2.0)
    out, mask = dropout_forward(x, p, np.random.default_rng(0))
    assert set(np.unique(mask)) == {0, 1 / (1 - p)}
    deviation = np.sqrt(p * (1 - p) / x.size)
    assert abs((mask == 0).mean() - p) < 4 * deviation
    assert abs(out.mean() - 2) < 4 * 2 * deviation / (1 - p)
    assert (out == x * mask).all()


def test_drops_independently_along_rows_and_columns() -> None:
    _, mask = dropout_forward(np.ones(SHAPE), 0.3, np.random.default_rng(0))
    dropped = mask == 0
    for axis, length in enumerate(SHAPE):
        share = dropped.mean(axis=axis)
        assert share.std() == pytest.approx(np.sqrt(0.3 * 0.7 / length), rel=0.2)


def test_nothing_is_dropped_with_p_0() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    out, mask = dropout_forward(x, 0, np.random.default_rng(0))
    assert (out == x).all()
    assert (mask == 1).all()


def test_the_noise_is_a_function_of_the_generator_alone() -> None:
    x = np.ones((5, 6))
    masks = {
        dtype: dropout_forward(x.astype(dtype), 0.5, np.random.default_rng(7))[1] for dtype in (np.float32, np.float64)
    }
    assert masks[np.float32].dtype == np.float32
    assert (masks[np.float32] == masks[np.float64]).all()
    assert (masks[np.float64] != dropout_forward(x, 0.5, np.random.default_rng(8))[1]).any()
    rng = np.random.default_rng(7)
    assert (dropout_forward(x, 0.5, rng)[1] != dropout_forward(x, 0.5, rng)[1]).any()


def test_backward_drops_and_scales_the_same_numbers() -> None:
    x, dout = np.ones((5, 6)), np.random.default_rng(1).standard_normal((5, 6))
    out, mask = dropout_forward(x, 0.5, np.random.default_rng(0))
    assert (dropout_backward(dout, mask) == dout * out).all()
