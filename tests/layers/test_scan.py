"""The scan of all cells equals their steps and computes only real positions; sequences of equal length."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minimal_gated_unit import MGU

from captioner.layers import CELLS
from captioner.layers.cell import Cell, CellState, step_backward, step_forward
from captioner.layers.packing import pack
from captioner.layers.scan import scan_backward, scan_forward, sequence_backward, sequence_forward

Array = np.ndarray
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


def assert_equals_steps(cell: Cell, p: Problem) -> None:
    h, grads = scan(cell, p)
    h_steps, grads_steps = step_by_step(cell, p)
    np.testing.assert_allclose(h, h_steps, rtol=1e-12, atol=1e-12)
    for grad, grad_steps in zip(grads, grads_steps, strict=True):
        assert grad.shape == grad_steps.shape
        np.testing.assert_allclose(grad, grad_steps, rtol=1e-12, atol=1e-12 * max(1, np.abs(grad_steps).max(initial=0)))


@every_cell
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
    assert_equals_steps(cell, problem(cell, lengths, hidden, width, words, seed))


@every_cell
@pytest.mark.parametrize("lengths", [[0, 0], [0], [3, 3, 3], [1], [0, 5, 0, 2]], ids=str)
def test_empty_and_equal_lengths(cell: Cell, lengths: list[int]) -> None:
    assert_equals_steps(cell, problem(cell, lengths))


@every_cell
def test_hidden_sizes_above_the_block_width(cell: Cell) -> None:
    p = problem(cell, [3, 1], hidden=70)
    assert_equals_steps(cell, p._replace(Wh=p.Wh / 8))


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
@pytest.mark.parametrize(("count", "steps"), [(2, 3), (1, 1), (1, 4), (3, 1), (2, 0), (0, 2)])
def test_sequences_equal_the_steps(cell: Cell, count: int, steps: int) -> None:
    """`sequence_*` is the scan over (N, T, D) arrays of equal lengths; without steps, its gradients are 0."""
    rng, p = np.random.default_rng(0), problem(cell, [steps] * count)
    x, dh = rng.standard_normal((count, steps, 2)), rng.standard_normal((count, steps, 3))
    h, cache = sequence_forward(cell, x, p.initial, p.Wx, p.Wh, p.b)
    dx, dinitial, *dweights = sequence_backward(cell, dh, cache)
    assert (h.shape, dx.shape) == (dh.shape, x.shape)

    state, caches = p.initial, []
    for t in range(steps):
        state, step_cache = step_forward(cell, x[:, t], state, p.Wx, p.Wh, p.b)
        caches.append(step_cache)
        np.testing.assert_allclose(h[:, t], state[0], atol=1e-12)
    dstate, totals = tuple(np.zeros_like(s) for s in state), [np.zeros_like(w) for w in (p.Wx, p.Wh, p.b)]
    for t in reversed(range(steps)):
        dx_t, dstate, *grads = step_backward(cell, (dstate[0] + dh[:, t], *dstate[1:]), caches[t])
        np.testing.assert_allclose(dx[:, t], dx_t, atol=1e-12)
        for total, grad in zip(totals, grads, strict=True):
            total += grad
    for a, b in zip([*dweights, *dinitial], [*totals, *dstate], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("double", ["x", "state", "weights", "none"])
def test_the_widest_dtype_is_used(cell: Cell, double: str) -> None:
    kinds = {name: np.float64 if name == double else np.float32 for name in ("x", "state", "weights")}
    p = problem(cell, [3, 3])
    initial = tuple(s.astype(kinds["state"]) for s in p.initial)
    h, cache = sequence_forward(
        cell, np.ones((2, 3, 2), kinds["x"]), initial, *(w.astype(kinds["weights"]) for w in (p.Wx, p.Wh, p.b))
    )
    dx, dinitial, *dweights = sequence_backward(cell, np.ones_like(h), cache)
    expected = np.float32 if double == "none" else np.float64
    assert {a.dtype for a in (h, dx, *dinitial, *dweights)} == {np.dtype(expected)}
