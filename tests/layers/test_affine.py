"""Affine layers against einsum, for any shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.layers.affine import affine_backward, affine_forward, temporal_affine_backward, temporal_affine_forward

SIZES = st.integers(1, 5)


@given(rows=st.integers(0, 4), inner=st.lists(SIZES, min_size=1, max_size=3), outputs=SIZES)
def test_affine_flattens_each_row(rows: int, inner: list[int], outputs: int) -> None:
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal((rows, *inner)), rng.standard_normal((rows, outputs))
    w, b = rng.standard_normal((np.prod(inner), outputs)), rng.standard_normal(outputs)
    flat = x.reshape(rows, len(w))

    out, cache = affine_forward(x, w, b)
    dx, dw, db = affine_backward(dout, cache)

    np.testing.assert_allclose(out, np.einsum("nd,dm->nm", flat, w) + b, atol=1e-12)
    np.testing.assert_allclose(dx.reshape(flat.shape), np.einsum("nm,dm->nd", dout, w), atol=1e-12)
    np.testing.assert_allclose(dw, np.einsum("nd,nm->dm", flat, dout), atol=1e-12)
    np.testing.assert_allclose(db, np.einsum("nm->m", dout), atol=1e-12)
    assert dx.shape == x.shape


@given(captions=st.integers(0, 4), steps=st.integers(0, 4), inputs=SIZES, outputs=SIZES)
def test_temporal_affine_is_the_same_map_at_each_step(captions: int, steps: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal((captions, steps, inputs)), rng.standard_normal((captions, steps, outputs))
    w, b = rng.standard_normal((inputs, outputs)), rng.standard_normal(outputs)
    out, cache = temporal_affine_forward(x, w, b)
    dx, *dparams = temporal_affine_backward(dout, cache)
    flat, flat_cache = affine_forward(x.reshape(-1, inputs), w, b)
    dflat, *dparams_flat = affine_backward(dout.reshape(-1, outputs), flat_cache)
    np.testing.assert_array_equal(out, flat.reshape(dout.shape))
    np.testing.assert_array_equal(dx, dflat.reshape(x.shape))
    for grad, expected in zip(dparams, dparams_flat, strict=True):
        np.testing.assert_array_equal(grad, expected)


def test_rows_of_unexpected_width_raise() -> None:
    with pytest.raises(ValueError, match=r"mismatch|reshape"):
        affine_forward(np.zeros((2, 4)), np.zeros((3, 5)), np.zeros(5))
