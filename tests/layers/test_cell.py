"""Step and scan for all cells, and for a minimal gated unit (Zhou et al. 2016) defined here.

It is an example of a new cell: pointwise equations and a row in `CELLS`.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config.options import Config, Model
from captioner.gradcheck.check import gradcheck
from captioner.gradcheck.numeric import Case, check
from captioner.layers import CELLS
from captioner.layers.cell import Cell, CellState, step_backward, step_forward
from captioner.layers.lstm import sigmoid
from captioner.layers.packing import pack
from captioner.layers.padded import sequence_backward, sequence_forward
from captioner.layers.scan import scan_backward, scan_forward
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params

Array = np.ndarray


def mgu_forward(ax: Array, ah: Array, prev: CellState, out: CellState, saved: Array | None) -> None:
    """f = σ(ax_f + ah_f), n = tanh(ax_n + f ah_n);   h = f n + (1 - f) h_prev"""
    f = sigmoid(ax[0] + ah[0])
    n = np.tanh(ax[1] + f * ah[1])
    out[0][...] = f * n + (1 - f) * prev[0]
    if saved is not None:
        saved[...] = f, n, ah[1], prev[0]


def mgu_backward(dstate: CellState, saved: Array, dax: Array, dah: Array) -> Array:
    f, n, ah_n, h_prev = saved
    (dh,) = dstate
    da_n = dh * f * (1 - n * n)
    da_f = (dh * (n - h_prev) + da_n * ah_n) * f * (1 - f)
    dax[...] = da_f, da_n
    dah[...] = da_f, da_n * f
    return dh * (1 - f)


MGU = Cell(gates=2, states=1, saved=4, additive=False, forward=mgu_forward, backward=mgu_backward)
ALL = {**CELLS, "mgu": MGU}
every_cell = pytest.mark.parametrize("cell", ALL.values(), ids=ALL)


class Problem(NamedTuple):
    """Packed sequences with shared inputs, and the gradient of each row's h."""

    lengths: Array
    inputs: Array
    ids: Array
    initial: CellState
    Wx: Array
    Wh: Array
    b: Array
    dh: Array


def problem(cell: Cell, lengths: list[int], hidden: int = 3, width: int = 2, words: int = 4, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    gates, rows = cell.gates * hidden, sum(lengths)
    return Problem(
        lengths=np.array(lengths, int),
        inputs=rng.standard_normal((words, width)),
        ids=rng.integers(0, words, rows),
        initial=tuple(rng.standard_normal((len(lengths), hidden)) for _ in range(cell.states)),
        Wx=rng.standard_normal((width, gates)),
        Wh=rng.standard_normal((hidden, gates)),
        b=rng.standard_normal(gates),
        dh=rng.standard_normal((rows, hidden)),
    )


def scan(cell: Cell, p: Problem) -> tuple[Array, list[Array]]:
    h, cache = scan_forward(cell, p.inputs, p.ids, p.initial, p.Wx, p.Wh, p.b, pack(p.lengths))
    dinputs, dinitial, *dweights = scan_backward(cell, p.dh, cache)
    return h, [dinputs, *dweights, *dinitial]


def step_by_step(cell: Cell, p: Problem) -> tuple[Array, list[Array]]:
    """Forward and backward of each caption alone, step by step."""
    packing = pack(p.lengths)
    row = {place: r for r, place in enumerate(zip(packing.caption.tolist(), packing.time.tolist(), strict=True))}
    h = np.zeros_like(p.dh)
    dinputs, dWx, dWh, db = (np.zeros_like(a) for a in (p.inputs, p.Wx, p.Wh, p.b))
    dinitial = tuple(np.zeros_like(s) for s in p.initial)
    for n, length in enumerate(p.lengths.tolist()):
        rows = [row[n, t] for t in range(length)]
        state, caches = tuple(s[n : n + 1] for s in p.initial), []
        for r in rows:
            state, cache = step_forward(cell, p.inputs[p.ids[[r]]], state, p.Wx, p.Wh, p.b)
            caches.append(cache)
            h[r] = state[0][0]
        dstate = tuple(np.zeros_like(s) for s in state)
        for r, cache in zip(reversed(rows), reversed(caches), strict=True):
            dx, dstate, *step_grads = step_backward(cell, (dstate[0] + p.dh[r], *dstate[1:]), cache)
            dinputs[p.ids[r]] += dx[0]
            for total, grad in zip((dWx, dWh, db), step_grads, strict=True):
                total += grad
        for total, grad in zip(dinitial, dstate, strict=True):
            total[n] = grad[0]
    return h, [dinputs, dWx, dWh, db, *dinitial]


@every_cell
@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    hidden=st.integers(1, 4),
    width=st.integers(1, 4),
    words=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_the_scan_equals_the_steps(
    cell: Cell, lengths: list[int], hidden: int, width: int, words: int, seed: int
) -> None:
    p = problem(cell, lengths, hidden, width, words, seed)
    h, grads = scan(cell, p)
    h_steps, grads_steps = step_by_step(cell, p)
    np.testing.assert_allclose(h, h_steps, rtol=1e-12, atol=1e-12)
    for grad, grad_steps in zip(grads, grads_steps, strict=True):
        assert grad.shape == grad_steps.shape
        np.testing.assert_allclose(grad, grad_steps, rtol=1e-12, atol=1e-12 * max(1, np.abs(grad_steps).max(initial=0)))


@every_cell
@pytest.mark.parametrize("lengths", [[0, 0], [0], [3, 3, 3], [1], [0, 5, 0, 2]], ids=str)
def test_empty_and_equal_lengths(cell: Cell, lengths: list[int]) -> None:
    p = problem(cell, lengths)
    h, grads = scan(cell, p)
    h_steps, grads_steps = step_by_step(cell, p)
    np.testing.assert_allclose(h, h_steps, atol=1e-12)
    for grad, grad_steps in zip(grads, grads_steps, strict=True):
        np.testing.assert_allclose(grad, grad_steps, atol=1e-12)


@every_cell
def test_hidden_sizes_above_the_block_width(cell: Cell) -> None:
    p = problem(cell, [3, 1], hidden=70)
    p = p._replace(Wh=p.Wh / 8)
    h, grads = scan(cell, p)
    h_steps, grads_steps = step_by_step(cell, p)
    np.testing.assert_allclose(h, h_steps, atol=1e-12)
    for grad, grad_steps in zip(grads, grads_steps, strict=True):
        np.testing.assert_allclose(grad, grad_steps, atol=1e-11)


@every_cell
def test_shared_inputs_equal_separate_inputs(cell: Cell) -> None:
    p = problem(cell, [4, 2, 3])
    h, (dinputs, *others) = scan(cell, p)
    packing = pack(p.lengths)
    h_separate, cache = scan_forward(cell, p.inputs[p.ids], None, p.initial, p.Wx, p.Wh, p.b, packing)
    drows, dinitial, *dweights = scan_backward(cell, p.dh, cache)
    np.testing.assert_allclose(h_separate, h, atol=1e-14)
    np.testing.assert_allclose([drows[p.ids == word].sum(axis=0) for word in range(len(p.inputs))], dinputs, atol=1e-12)
    for a, b in zip([*dweights, *dinitial], others, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@every_cell
def test_padded_steps_have_no_influence(cell: Cell) -> None:
    """Values beyond the length of a sequence do not change a bit of the result."""
    p = problem(cell, [4, 2, 3])
    packing = pack(p.lengths)
    padded = np.full((3, 6, p.inputs.shape[1]), np.nan)
    padded[packing.caption, packing.time] = p.inputs[p.ids]
    results = []
    for beyond in (np.nan, 7.0):
        x = np.where(np.isnan(padded), beyond, padded)
        h, cache = scan_forward(cell, x[packing.caption, packing.time], None, p.initial, p.Wx, p.Wh, p.b, packing)
        dinputs, dinitial, *dweights = scan_backward(cell, p.dh, cache)
        results.append([h, dinputs, *dweights, *dinitial])
    for first, second in zip(*results, strict=True):
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, second)


@every_cell
def test_only_real_steps_are_computed(cell: Cell) -> None:
    rows = {"forward": 0, "backward": 0}

    def forward(ax: Array, *rest: object) -> None:
        rows["forward"] += ax.shape[1]
        cell.forward(ax, *rest)  # type: ignore[arg-type]

    def backward(dstate: CellState, *rest: object) -> Array | None:
        rows["backward"] += len(dstate[0])
        return cell.backward(dstate, *rest)  # type: ignore[arg-type]

    p = problem(cell, [5, 0, 1, 2])
    scan(cell._replace(forward=forward, backward=backward), p)
    assert rows == {"forward": 8, "backward": 8}


@every_cell
def test_inference_computes_the_same_states(cell: Cell) -> None:
    p = problem(cell, [4, 0, 3])
    h, cache = scan_forward(cell, p.inputs, p.ids, p.initial, p.Wx, p.Wh, p.b, pack(p.lengths), save_for_backward=False)
    assert (h == scan(cell, p)[0]).all()
    assert cache.saved.size == 0


@every_cell
def test_steps_pass_the_gradient_check(cell: Cell) -> None:
    p = problem(cell, [1, 1, 1])
    states = {f"s{k}": s for k, s in enumerate(p.initial)}
    douts = [np.random.default_rng(k).standard_normal(s.shape) for k, s in enumerate(p.initial)]
    x = p.inputs[:3].copy()

    def loss() -> float:
        state, _ = step_forward(cell, x, tuple(states.values()), p.Wx, p.Wh, p.b)
        return float(sum(np.vdot(s, d) for s, d in zip(state, douts, strict=True)))

    def grads() -> dict[str, Array]:
        _, cache = step_forward(cell, x, tuple(states.values()), p.Wx, p.Wh, p.b)
        dx, dprev, *dweights = step_backward(cell, tuple(douts), cache)
        return dict(zip(arrays, (dx, *dweights, *dprev), strict=True))

    arrays = {"x": x, "Wx": p.Wx, "Wh": p.Wh, "b": p.b, **states}
    rows = list(check(Case("step", arrays, loss, grads), np.random.default_rng(0), full=True))
    assert len(rows) == 4 + cell.states
    assert all(row.passed for row in rows), rows


@every_cell
def test_scans_pass_the_gradient_check(cell: Cell) -> None:
    p = problem(cell, [0, 3, 1, 3])
    states = {f"s{k}": s for k, s in enumerate(p.initial)}
    arrays = {"inputs": p.inputs, "Wx": p.Wx, "Wh": p.Wh, "b": p.b, **states}
    case = Case(
        "scan",
        arrays,
        lambda: float(np.vdot(scan(cell, p)[0], p.dh)),
        lambda: dict(zip(arrays, scan(cell, p)[1], strict=True)),
    )
    rows = list(check(case, np.random.default_rng(0), full=True))
    assert len(rows) == 4 + cell.states
    assert all(row.passed for row in rows), rows


def test_a_new_cell_needs_one_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model trains, decodes and passes the gradient check with it."""
    monkeypatch.setitem(CELLS, "mgu", MGU)
    monkeypatch.setattr("captioner.gradcheck.check.LAYERS", {})
    monkeypatch.setattr("captioner.gradcheck.check.VARIANTS", {})
    config = dataclasses.replace(
        Config(), model=Model(cell="mgu", wordvec_dim=3, hidden_dim=4, dropout_embedding=0.3, dropout_hidden=0.3)
    )  # type: ignore[arg-type]
    rows = [row for row in gradcheck(config, full=True) if row.case == "model (mgu)"]
    assert len(rows) == 8
    assert all(row.passed for row in rows), rows

    sizes = Sizes(vocab=7, feature=4, wordvec=3, hidden=5, cell="mgu")
    rng = np.random.default_rng(0)
    model = CaptioningRNN(sizes, initial_params(sizes, rng.standard_normal, np.float64))
    features, captions = rng.standard_normal((2, 4)), np.array([[1, 4, 5, 2], [1, 6, 2, 0]])
    state, total = model.start(features), 0.0
    for t in range(3):
        log_probs, state = model.step(captions[:, t], state)
        target = captions[:, t + 1]
        total -= log_probs[np.arange(2), target][target != 0].sum()
    assert model.loss(features, captions)[0] == pytest.approx(total / 2, abs=1e-12)


@every_cell
def test_sequences_equal_the_steps(cell: Cell) -> None:
    """`sequence_*` is the scan over (N, T, D) arrays of equal lengths."""
    rng = np.random.default_rng(0)
    p = problem(cell, [3, 3])
    x, dh = rng.standard_normal((2, 3, 2)), rng.standard_normal((2, 3, 3))
    h, cache = sequence_forward(cell, x, p.initial, p.Wx, p.Wh, p.b)
    dx, dinitial, *dweights = sequence_backward(cell, dh, cache)

    state, caches = p.initial, []
    for t in range(3):
        state, step_cache = step_forward(cell, x[:, t], state, p.Wx, p.Wh, p.b)
        caches.append(step_cache)
        np.testing.assert_allclose(h[:, t], state[0], atol=1e-12)
    dstate, totals = tuple(np.zeros_like(s) for s in state), [np.zeros_like(w) for w in dweights]
    for t in (2, 1, 0):
        dx_t, dstate, *grads = step_backward(cell, (dstate[0] + dh[:, t], *dstate[1:]), caches[t])
        np.testing.assert_allclose(dx[:, t], dx_t, atol=1e-12)
        for total, grad in zip(totals, grads, strict=True):
            total += grad
    for a, b in zip([*dweights, *dinitial], [*totals, *dstate], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
