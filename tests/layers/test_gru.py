"""The GRU cell against its equations and its limits."""

import numpy as np

from captioner.layers.cell import step_forward
from captioner.layers.gru import GRU
from captioner.layers.lstm import sigmoid
from captioner.layers.scan import sequence_backward, sequence_forward

N, T, D, H = 3, 4, 5, 6
rng = np.random.default_rng(0)
X, H0, DH = rng.standard_normal((N, T, D)), rng.standard_normal((N, H)), rng.standard_normal((N, T, H))
WX, WH, B = (rng.standard_normal(shape) for shape in ((D, 3 * H), (H, 3 * H), 3 * H))


def test_a_step_is_the_reset_after_gru() -> None:
    (h,), _ = step_forward(GRU, X[:, 0], (H0,), WX, WH, B)
    (ax_r, ax_z, ax_n), (ah_r, ah_z, ah_n) = np.split(X[:, 0] @ WX + B, 3, axis=1), np.split(H0 @ WH, 3, axis=1)
    r, z = sigmoid(ax_r + ah_r), sigmoid(ax_z + ah_z)
    np.testing.assert_allclose(h, (1 - z) * np.tanh(ax_n + r * ah_n) + z * H0, atol=1e-14)


def test_an_open_update_gate_keeps_the_hidden_state() -> None:
    b = np.concatenate([np.zeros(H), np.full(H, 1e3), np.zeros(H)])
    h, cache = sequence_forward(GRU, X, (H0,), WX, WH, b)
    np.testing.assert_allclose(h, np.repeat(H0[:, None], T, axis=1), atol=1e-14)
    _, (dh0,), *dweights = sequence_backward(GRU, DH, cache)
    np.testing.assert_allclose(dh0, DH.sum(axis=1), atol=1e-14)
    assert all((grad == 0).all() for grad in dweights)


def test_large_pre_activations_do_not_overflow() -> None:
    h, cache = sequence_forward(GRU, 1e30 * X, (H0,), WX, WH, B)
    grads = sequence_backward(GRU, DH, cache)
    assert np.isfinite(h).all()
    assert all(np.isfinite(grad).all() for grad in (grads[0], *grads[1], *grads[2:]))
