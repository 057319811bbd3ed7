"""Recurrent cells: their interface, and one time step forward, backward and for inference.

A cell is its pointwise gate equations; `step_*` and `scan_*` do the matrix products for all cells and call the same
equations. prev_h Wh is the only recurrent product. At step t, x is x_t, and `prev` the state at t - 1.

    ax = x Wx + b,   ah = prev_h Wh,   state = cell(ax, ah, prev)

Letters: N captions, P packed rows, D input, H hidden, G gates (pre-activations per hidden unit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.layers.affine import affine_backward
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.parallel.thread_pool import SERIAL, ThreadPool

CellState: TypeAlias = tuple[Array, ...]
"""Arrays (N, H); the first is h, the output of the cell.

For `scan_*` and `inference_step`, a context (N, G, H) may follow the cell's own arrays: it is constant over time and is
added to ax at each step.
"""


class Cell(NamedTuple):
    """The pointwise equations of a recurrent cell, without matrix products.

    `forward(ax, ah, prev, out, saved)` writes the new state into `out`, and what the backward pass needs into `saved`
    (None for inference); it may overwrite `ah`.
    `backward(dstate, saved, dax, dah)` writes the gradients of ax and ah, and replaces `dstate[1:]` by the gradients of
    the previous state. It returns the part of the gradient of prev_h that does not pass through ah, as a new array, or
    None.

    Pre-activations are stored gate by gate, so that each gate is contiguous in memory.

    Shapes: ax, ah, dax, dah (G, N, H); states (N, H); saved (`saved`, N, H).
    """

    gates: int
    states: int
    saved: int
    additive: bool
    """The cell uses only ax + ah, so dax and dah are the same array."""
    forward: Callable[[Array, Array, CellState, CellState, Array | None], None]
    backward: Callable[[CellState, Array, Array, Array], Array | None]
    forget: int | None = None
    """Index of the forget gate, if the cell has one: of all gates, it alone open keeps the last part of the state."""
    gate_names: str = ""
    """A letter for each of several gates, in their order."""


class StepCache(NamedTuple):
    x: Array
    prev_h: Array
    Wx: Array
    Wh: Array
    saved: Array


def promote(*arrays: Array) -> list[Array]:
    """Convert arrays to their common (widest) float type."""
    dtype = np.result_type(*arrays)
    return [a.astype(dtype, copy=False) for a in arrays]


def split_gates(W: Array, gates: int) -> Array:
    """View a matrix with concatenated gates as one matrix per gate.

    Shapes: W (K, G H) -> (G, K, H).
    """
    return W.reshape(len(W), gates, W.shape[1] // gates).swapaxes(0, 1)


def concatenate_gates(a: Array) -> Array:
    """Concatenate the gates of each row, as in the assignment.

    Shapes: a (G, N, H) -> (N, G H).
    """
    gates, count, hidden = a.shape
    return a.swapaxes(0, 1).reshape(count, gates * hidden)


def step_forward(cell: Cell, x: Array, prev: CellState, Wx: Array, Wh: Array, b: Array) -> tuple[CellState, StepCache]:
    """Compute one time step of N captions.

    Shapes: x (N, D), prev arrays (N, H), Wx (D, G H), Wh (H, G H), b (G H,) -> state arrays (N, H).
    """
    x, Wx, Wh, b, *prev_arrays = promote(x, Wx, Wh, b, *prev)
    prev = tuple(prev_arrays)
    ax = project_inputs(cell, x, Wx, b)
    ah = prev[0] @ split_gates(Wh, cell.gates)
    out = tuple(np.empty_like(h) for h in prev)
    saved = np.empty_like(ah, shape=(cell.saved, len(x), len(Wh)))
    cell.forward(ax, ah, prev, out, saved)
    return out, StepCache(x, prev[0], Wx, Wh, saved)


def step_backward(cell: Cell, dstate: CellState, cache: StepCache) -> tuple[Array, CellState, Array, Array, Array]:
    """Compute the gradients of `step_forward`, given those of the new state.

    dx = dax Wxᵀ, dprev_h = dah Whᵀ, dWx = xᵀ dax, dWh = prev_hᵀ dah, db = Σ_n dax

    Shapes: dstate arrays (N, H) -> dx (N, D), dprev arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    x, prev_h, Wx, Wh, saved = cache
    dprev = tuple(d.astype(saved.dtype) for d in dstate)
    dax = np.empty_like(saved, shape=(cell.gates, len(x), len(Wh)))
    dah = dax if cell.additive else np.empty_like(dax)
    direct = cell.backward(dprev, saved, dax, dah)
    dprev_h = concatenate_gates(dah) @ Wh.T
    if direct is not None:
        dprev_h += direct
    dx, dWx, db = affine_backward(concatenate_gates(dax), (x, Wx))
    return dx, (dprev_h, *dprev[1:]), dWx, prev_h.T @ concatenate_gates(dah), db


def project_inputs(cell: Cell, x: Array, Wx: Array, b: Array, pool: ThreadPool = SERIAL) -> Array:
    """Compute the input projections of all gates: ax = x Wx + b.

    Shapes: x (N, D), Wx (D, G H), b (G H,) -> (G, N, H).
    """
    W = split_gates(Wx, cell.gates)
    ax = pool.matmul(x, W, np.empty((cell.gates, len(x), W.shape[2]), np.result_type(x, W)))
    ax += b.reshape(cell.gates, 1, -1)
    return ax


def inference_step(cell: Cell, ax: Array, ids: Array, prev: CellState, Wh: InferenceMatrix) -> CellState:
    """Compute one time step without saving anything for a backward pass; caption n has the input ax[:, ids[n]].

    Shapes: ax (G, U, H), ids (N,), prev arrays (N, H), Wh (G, H, H) -> state arrays (N, H).
    """
    state, context = prev[: cell.states], prev[cell.states :]
    out, ax_t = tuple(np.empty_like(h) for h in state), ax.take(ids, axis=1)
    for added in context:
        ax_t += added.swapaxes(0, 1)
    cell.forward(ax_t, Wh.product(state[0]), state, out, None)
    return *out, *context
