"""The LSTM cell against its equations, gate by gate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers.lstm import lstm_step_backward, lstm_step_forward, sigmoid

N, T, D, H = 3, 4, 2, 5
rng = np.random.default_rng(0)
X, PREV_H, PREV_C = rng.standard_normal((N, T, D)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
WX, WH, B = rng.standard_normal((D, 4 * H)), rng.standard_normal((H, 4 * H)), rng.standard_normal(4 * H)
CLOSED, OPEN = -1e3, 1e3


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gates(**levels: float) -> np.ndarray:
    """A bias that sets the pre-activations of each gate."""
    return np.concatenate([np.full(H, levels[gate]) for gate in "ifog"])


def test_the_equations() -> None:
    next_h, next_c, _ = lstm_step_forward(X[:, 0], PREV_H, PREV_C, WX, WH, B)
    a_i, a_f, a_o, a_g = np.split(X[:, 0] @ WX + PREV_H @ WH + B, 4, axis=1)
    c = logistic(a_f) * PREV_C + logistic(a_i) * np.tanh(a_g)
    np.testing.assert_allclose(next_c, c, atol=1e-14)
    np.testing.assert_allclose(next_h, logistic(a_o) * np.tanh(c), atol=1e-14)


def test_an_open_forget_gate_keeps_the_cell_state_and_its_gradient() -> None:
    _, next_c, cache = lstm_step_forward(
        X[:, 0], PREV_H, PREV_C, 0 * WX, 0 * WH, gates(i=CLOSED, f=OPEN, o=CLOSED, g=3)
    )
    np.testing.assert_array_equal(next_c, PREV_C)
    _, _, dprev_c, *_ = lstm_step_backward(np.zeros((N, H)), np.ones((N, H)), cache)
    assert (dprev_c == 1).all()


def test_a_closed_output_gate_gives_h_0() -> None:
    next_h, _, _ = lstm_step_forward(X[:, 0], PREV_H, PREV_C, WX, 0 * WH, gates(i=0, f=0, o=CLOSED, g=0))
    assert (next_h == 0).all()


@pytest.mark.parametrize("level", [CLOSED, OPEN])
def test_saturated_gates_are_finite(level: float) -> None:
    next_h, next_c, cache = lstm_step_forward(
        X[:, 0], PREV_H, PREV_C, WX, WH, gates(i=level, f=level, o=level, g=level)
    )
    grads = lstm_step_backward(np.ones((N, H)), np.ones((N, H)), cache)
    assert all(np.isfinite(a).all() for a in (next_h, next_c, *grads))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8))
def test_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    x = np.array(values)
    np.testing.assert_allclose(sigmoid(x), logistic(x), rtol=0, atol=2e-16 * 4)
    assert (x == values).all()


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e30, -1e3, 0, 1e3, 1e30])).tolist() == [0, 0, 0.5, 1, 1]
    assert sigmoid(np.array([-800.0], np.float32)).dtype == np.float32
