"""What a recurrent cell is; one time step of it, and the fast scan over packed sequences.

A cell is its pointwise gate equations and nothing else: `step_*` and `scan_*` do the matrix products for every
cell alike, and both call the same equations. We are at step t: x is x_t, `prev` is the state at t - 1.

    ax = x Wx + b,   ah = h_prev Wh,   state = cell(ax, ah, prev)

Letters: N captions, P packed rows, D input, H hidden, G pre-activations a unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.layers.affine import affine_backward
from captioner.layers.blocked_matmul import BlockedMatrix
from captioner.parallel.thread_pool import SERIAL, ThreadPool

State: TypeAlias = tuple[Array, ...]
"""Row arrays (N, H); the first is h, which alone is seen from outside.

For `scan_*` and `read`, a context (N, G, H) may stand after the cell's own: it never changes, and is added to ax at
every step.
"""


class Cell(NamedTuple):
    """The pointwise equations of a recurrent cell, with no matrix product inside.

    `forward(ax, ah, prev, out, kept)` writes the new state into `out` and what the backward pass needs into `kept`
    (None when there will be none); it may use `ah` as scratch.
    `backward(dstate, kept, dax, dah)` writes the gradients of ax and ah. It replaces the gradients in `dstate[1:]`
    by those of the previous state, and returns the gradient that reaches h_prev by another way than ah, in an array of
    its own, or None.

    Pre-activations lie gate by gate, so that every pass over one of them is over memory without gaps.

    Shapes: ax, ah, dax, dah (G, N, H); states (N, H); kept (kept, N, H).
    """

    gates: int
    states: int
    kept: int
    added: bool
    """ax and ah are only ever added, so that dax and dah are one array."""
    forward: Callable[[Array, Array, State, State, Array | None], None]
    backward: Callable[[State, Array, Array, Array], Array | None]
    forget: int | None = None
    """Which of the G gates is the forget gate, if there is one."""


class StepCache(NamedTuple):
    x: Array
    h_prev: Array
    Wx: Array
    Wh: Array
    kept: Array


def alike(*arrays: Array) -> list[Array]:
    """The arrays in the widest of their float types, so that none is cut down on the way."""
    dtype = np.result_type(*arrays)
    return [a.astype(dtype, copy=False) for a in arrays]


def by_gate(W: Array, gates: int) -> Array:
    """A view of a matrix whose columns are those of one gate after another: a matrix for every gate.

    Shapes: W (K, G H) -> (G, K, H).
    """
    return W.reshape(len(W), gates, W.shape[1] // gates).swapaxes(0, 1)


def by_row(a: Array) -> Array:
    """The gates of a row side by side, as in the assignment.

    Shapes: a (G, N, H) -> (N, G H).
    """
    gates, count, hidden = a.shape
    return a.swapaxes(0, 1).reshape(count, gates * hidden)


def step_forward(cell: Cell, x: Array, prev: State, Wx: Array, Wh: Array, b: Array) -> tuple[State, StepCache]:
    """One time step of N captions.

    Shapes: x (N, D), prev arrays (N, H), Wx (D, G H), Wh (H, G H), b (G H,) -> state arrays (N, H).
    """
    x, Wx, Wh, b, *prev_arrays = alike(x, Wx, Wh, b, *prev)
    prev = tuple(prev_arrays)
    ax = project(cell, x, Wx, b)
    ah = prev[0] @ by_gate(Wh, cell.gates)
    out = tuple(np.empty_like(h) for h in prev)
    kept = np.empty_like(ah, shape=(cell.kept, len(x), len(Wh)))
    cell.forward(ax, ah, prev, out, kept)
    return out, StepCache(x, prev[0], Wx, Wh, kept)


def step_backward(cell: Cell, dstate: State, cache: StepCache) -> tuple[Array, State, Array, Array, Array]:
    """Gradients of `step_forward`, given those of the new state.

    dx = dax Wxᵀ, dh_prev = dah Whᵀ, dWx = xᵀ dax, dWh = h_prevᵀ dah, db = Σ_n dax

    Shapes: dstate arrays (N, H) -> dx (N, D), dprev arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    x, h_prev, Wx, Wh, kept = cache
    dprev = tuple(d.astype(kept.dtype) for d in dstate)
    dax = np.empty_like(kept, shape=(cell.gates, len(x), len(Wh)))
    dah = dax if cell.added else np.empty_like(dax)
    direct = cell.backward(dprev, kept, dax, dah)
    dh_prev = by_row(dah) @ Wh.T
    if direct is not None:
        dh_prev += direct
    dx, dWx, db = affine_backward(by_row(dax), (x, Wx))
    return dx, (dh_prev, *dprev[1:]), dWx, h_prev.T @ by_row(dah), db


def project(cell: Cell, x: Array, Wx: Array, b: Array, out: Array | None = None, pool: ThreadPool = SERIAL) -> Array:
    """What the inputs say to every gate: ax = x Wx + b.

    Shapes: x (N, D), Wx (D, G H), b (G H,) -> (G, N, H).
    """
    W = by_gate(Wx, cell.gates)
    ax = pool.matmul(x, W, np.empty((cell.gates, len(x), W.shape[2]), W.dtype) if out is None else out)
    ax += b.reshape(cell.gates, 1, -1)
    return ax


def read(cell: Cell, ax: Array, ids: Array, prev: State, Wh: BlockedMatrix) -> State:
    """One time step for decoding, which has no backward pass; the input of caption n is ax[:, ids[n]].

    Shapes: ax (G, U, H), ids (N,), prev arrays (N, H), Wh (G, H, H) -> state arrays (N, H).
    """
    own, context = prev[: cell.states], prev[cell.states :]
    out, ax_t = tuple(np.empty_like(h) for h in own), ax.take(ids, axis=1)
    for added in context:
        ax_t += added.swapaxes(0, 1)
    cell.forward(ax_t, Wh.product(own[0]), own, out, None)
    return *out, *context
