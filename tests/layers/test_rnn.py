"""The vanilla RNN cell against its equation."""

import numpy as np

from captioner.layers.rnn import rnn_step_backward, rnn_step_forward

rng = np.random.default_rng(0)
N, T, D, H = 3, 4, 2, 5
X, H0 = rng.standard_normal((N, T, D)), rng.standard_normal((N, H))
WX, WH, B = rng.standard_normal((D, H)), rng.standard_normal((H, H)), rng.standard_normal(H)


def test_the_equation_and_its_derivative() -> None:
    x, dnext_h = X[:, 0], np.ones((N, H))
    next_h, cache = rnn_step_forward(x, H0, WX, WH, B)
    expected = np.tanh(x @ WX + H0 @ WH + B)
    np.testing.assert_allclose(next_h, expected, atol=1e-14)

    dx, dprev_h, dWx, dWh, db = rnn_step_backward(dnext_h, cache)
    da = dnext_h * (1 - expected**2)
    for grad, by_hand in zip(
        (dx, dprev_h, dWx, dWh, db), (da @ WX.T, da @ WH.T, x.T @ da, H0.T @ da, da.sum(axis=0)), strict=True
    ):
        np.testing.assert_allclose(grad, by_hand, atol=1e-13)


def test_saturated_units_have_no_gradient() -> None:
    next_h, cache = rnn_step_forward(X[:, 0], H0, WX, WH, B + 1e4)
    assert (next_h == 1).all()
    assert all((grad == 0).all() for grad in rnn_step_backward(np.ones((N, H)), cache))
