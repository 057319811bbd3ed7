"""Sequences of equal length: edge shapes, precision and causality."""

import numpy as np
import pytest

from captioner.layers import CELLS
from captioner.layers.cell import Cell, CellState
from captioner.layers.scan import sequence_backward, sequence_forward

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
D, H = 3, 4


def weights(cell: Cell, dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = ((D, cell.gates * H), (H, cell.gates * H), (cell.gates * H,))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def initial(cell: Cell, count: int, dtype: type = np.float64) -> CellState:
    return tuple(np.random.default_rng(k).standard_normal((count, H)).astype(dtype) for k in range(cell.states))


@every_cell
@pytest.mark.parametrize(("count", "steps"), [(1, 1), (1, 4), (3, 1), (2, 0), (0, 2)])
def test_any_number_of_sequences_and_steps(cell: Cell, count: int, steps: int) -> None:
    x = np.random.default_rng(1).standard_normal((count, steps, D))
    h, cache = sequence_forward(cell, x, initial(cell, count), *weights(cell))
    dx, dinitial, dWx, dWh, db = sequence_backward(cell, np.ones_like(h), cache)
    assert h.shape == (count, steps, H)
    assert dx.shape == x.shape
    assert [d.shape for d in dinitial] == [(count, H)] * cell.states
    assert [d.shape for d in (dWx, dWh, db)] == [w.shape for w in weights(cell)]


@every_cell
def test_no_steps_have_zero_gradients(cell: Cell) -> None:
    h, cache = sequence_forward(cell, np.zeros((2, 0, D)), initial(cell, 2), *weights(cell))
    _, dinitial, *dweights = sequence_backward(cell, np.ones_like(h), cache)
    assert all((d == 0).all() for d in (*dinitial, *dweights))


@every_cell
def test_steps_do_not_depend_on_later_inputs(cell: Cell) -> None:
    x = np.random.default_rng(1).standard_normal((2, 5, D))
    h, _ = sequence_forward(cell, x, initial(cell, 2), *weights(cell))
    x[:, 3:] = 99
    after, _ = sequence_forward(cell, x, initial(cell, 2), *weights(cell))
    assert (after[:, :3] == h[:, :3]).all()
    assert (after[:, 3:] != h[:, 3:]).any()


@every_cell
def test_sequences_are_independent(cell: Cell) -> None:
    x, state = np.random.default_rng(1).standard_normal((3, 4, D)), initial(cell, 3)
    h, _ = sequence_forward(cell, x, state, *weights(cell))
    for n in range(3):
        alone, _ = sequence_forward(cell, x[n : n + 1], tuple(s[n : n + 1] for s in state), *weights(cell))
        np.testing.assert_allclose(alone[0], h[n], atol=1e-14)


@every_cell
@pytest.mark.parametrize("double", ["x", "state", "weights", "none"])
def test_the_widest_dtype_is_used(cell: Cell, double: str) -> None:
    kinds = {name: np.float64 if name == double else np.float32 for name in ("x", "state", "weights")}
    x = np.ones((2, 3, D), kinds["x"])
    h, cache = sequence_forward(cell, x, initial(cell, 2, kinds["state"]), *weights(cell, kinds["weights"]))
    dx, dinitial, *dweights = sequence_backward(cell, np.ones_like(h), cache)
    expected = np.float32 if double == "none" else np.float64
    assert {a.dtype for a in (h, dx, *dinitial, *dweights)} == {np.dtype(expected)}
