"""Every cell against its equations and at its limits, and a minimal gated unit as an example of a new cell."""

import dataclasses

import numpy as np
import plain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minimal_gated_unit import MGU

import captioner.cs231n
from captioner.arrays import Batch
from captioner.config.options import Config, Model
from captioner.gradcheck.cases import gradient_cases
from captioner.gradcheck.numeric import check_gradients
from captioner.layers import CELLS
from captioner.layers.cell import CellState, StepCache, step_backward, step_forward
from captioner.layers.lstm import sigmoid
from captioner.model.build import DECODERS, initial_params
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

Array = np.ndarray
N, D, H = 3, 2, 5
X, PREV_H, PREV_C = (np.random.default_rng(0).standard_normal((N, size)) for size in (D, H, H))
CLOSED, OPEN = -1e3, 1e3
every_cell = pytest.mark.parametrize("cell", CELLS)


def weights(cell: str) -> dict[str, Array]:
    rng, width = np.random.default_rng(1), CELLS[cell].gates * H
    return {name: rng.standard_normal(s) for name, s in {"Wx": (D, width), "Wh": (H, width), "b": (width,)}.items()}


def step(cell: str, x: Array = X, **changed: Array) -> tuple[CellState, StepCache]:
    p = weights(cell) | changed
    return step_forward(CELLS[cell], x, (PREV_H, PREV_C)[: CELLS[cell].states], p["Wx"], p["Wh"], p["b"])


def backward(cell: str, cache: StepCache, *dstate: Array) -> tuple[Array, ...]:
    dx, dprev, *dweights = step_backward(CELLS[cell], dstate, cache)
    return dx, *dprev, *dweights


def levels(*gates: float) -> Array:
    """A bias that sets the pre-activations of each gate."""
    return np.repeat(np.array(gates, float), H)


@every_cell
def test_a_step_and_its_gradients_are_the_plain_equations(cell: str) -> None:
    state, cache = step(cell)
    prev, dstate = (
        (PREV_H, PREV_C)[: len(state)],
        tuple(np.random.default_rng(2).standard_normal((2, N, H)))[: len(state)],
    )
    *expected, plain_cache = getattr(plain, f"{cell}_step_forward")(X, *prev, *weights(cell).values())
    expected += getattr(plain, f"{cell}_step_backward")(*dstate, plain_cache)
    for ours, theirs in zip((*state, *backward(cell, cache, *dstate)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("steps", [1, 4])
def test_sequences_are_the_plain_loops(cell: str, steps: int) -> None:
    rng, results = np.random.default_rng(0), []
    x, dh = rng.standard_normal((N, steps, D)), rng.standard_normal((N, steps, H))
    for module in (captioner.cs231n, plain):
        h, cache = getattr(module, f"{cell}_forward")(x, PREV_H, *weights(cell).values())
        results.append((h, *getattr(module, f"{cell}_backward")(dh, cache)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


@every_cell
@pytest.mark.parametrize("level", [CLOSED, OPEN, 1e30])
def test_saturated_gates_are_finite(cell: str, level: float) -> None:
    state, cache = step(cell, b=np.full_like(weights(cell)["b"], level))
    grads = backward(cell, cache, *(np.ones_like(rows) for rows in state))
    assert all(np.isfinite(a).all() for a in (*state, *grads))
    if cell == "rnn":
        assert (np.abs(state[0]) == 1).all()
        assert all((grad == 0).all() for grad in grads)


def test_an_open_forget_gate_keeps_the_cell_state_and_its_gradient() -> None:
    zeros = {name: 0 * w for name, w in weights("lstm").items()}
    (_, next_c), cache = step("lstm", **zeros | {"b": levels(CLOSED, OPEN, CLOSED, 3)})
    np.testing.assert_array_equal(next_c, PREV_C)
    _, _, dprev_c, *_ = backward("lstm", cache, np.zeros((N, H)), np.ones((N, H)))
    assert (dprev_c == 1).all()
    (next_h, _), _ = step("lstm", Wh=zeros["Wh"], b=levels(0, 0, CLOSED, 0))
    assert (next_h == 0).all(), "a closed output gate"


def test_an_open_update_gate_keeps_the_hidden_state() -> None:
    (next_h,), cache = step("gru", b=levels(0, OPEN, 0))
    np.testing.assert_allclose(next_h, PREV_H, atol=1e-14)
    _, dprev_h, *dweights = backward("gru", cache, X @ np.ones((D, H)))
    np.testing.assert_allclose(dprev_h, X @ np.ones((D, H)), atol=1e-14)
    assert all((grad == 0).all() for grad in dweights)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8))
def test_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    x = np.array(values)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=0, atol=2e-16 * 4)
    assert (x == values).all()
    assert sigmoid(np.array([-1e30, -1e3, 0, 1e3, 1e30])).tolist() == [0, 0, 0.5, 1, 1]
    assert sigmoid(np.array([-800.0], np.float32)).dtype == np.float32


def test_a_new_cell_needs_one_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model trains, decodes and passes the gradient check with it."""
    monkeypatch.setitem(CELLS, "mgu", MGU)
    monkeypatch.setattr("captioner.gradcheck.cases.LAYERS", {})
    monkeypatch.setitem(DECODERS, "mgu", DECODERS["gru"])
    config = dataclasses.replace(
        Config(), model=Model(decoder="mgu", wordvec_dim=3, hidden_dim=4, dropout_embedding=0.3, dropout_hidden=0.3)
    )  # type: ignore[arg-type]
    rows = list(check_gradients(*next(gradient_cases(config)), full=True))
    assert {row.case for row in rows} == {"model (mgu)"}
    assert len(rows) == 8
    assert all(row.passed for row in rows), rows

    sizes = Sizes(vocab=7, feature=4, wordvec=3, hidden=5, decoder="mgu")
    rng = np.random.default_rng(0)
    model = CaptioningRNN(sizes, initial_params(sizes, rng.standard_normal, np.float64))
    features, captions = rng.standard_normal((2, 4)), np.array([[1, 4, 5, 2], [1, 6, 2, 0]])
    state, total = model.start(features), 0.0
    for t in range(3):
        log_probs, state = model.step(captions[:, t], state)
        target = captions[:, t + 1]
        total -= log_probs[np.arange(2), target][target != 0].sum()
    assert model.loss(Batch(features, captions))[0] == pytest.approx(total / 2, abs=1e-12)


@every_cell
def test_gates_have_names_and_a_forget_gate_keeps_the_state(cell: str) -> None:
    """The open forget gate alone keeps the last part of the state: model.forget_bias is added to its bias."""
    table = CELLS[cell]
    assert len(table.gate_names) == (table.gates if table.gates > 1 else 0)
    if table.forget is not None:
        biases = [OPEN if gate == table.forget else CLOSED for gate in range(table.gates)]
        state, _ = step(cell, Wx=0 * weights(cell)["Wx"], Wh=0 * weights(cell)["Wh"], b=levels(*biases))
        np.testing.assert_array_equal(state[-1], (PREV_H, PREV_C)[table.states - 1])
