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
from captioner.layers.affine import affine_backward, affine_forward
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.packing import Packing
from captioner.workspace import Empty, Workspace

State: TypeAlias = tuple[Array, ...]
"""Row arrays (N, H); the first is h, which alone is seen from outside."""


class Cell(NamedTuple):
    """The pointwise equations of a recurrent cell, with no matrix product inside.

    `forward(ax, ah, prev, out, kept)` writes the new state into `out` and what the backward pass needs into `kept`
    (None when there will be none); it may use `ah` as scratch.
    `backward(dstate, kept, dax, dah)` writes the gradients of ax and ah. It replaces the gradients in `dstate[1:]`
    by those of the previous state, and returns the gradient that reaches h_prev by another way than ah, in an array of
    its own, or None.

    Shapes: ax, ah, dax, dah (N, G H); states (N, H); kept (N, kept H).
    """

    gates: int
    states: int
    kept: int
    added: bool
    """ax and ah are only ever added, so that dax and dah are one array."""
    forward: Callable[[Array, Array, State, State, Array | None], None]
    backward: Callable[[State, Array, Array, Array], Array | None]
    forget: int | None = None
    """Which of the G blocks of pre-activations is the forget gate, if there is one."""


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


def step_forward(
    cell: Cell,
    x: Array,
    prev: State,
    Wx: Array,
    Wh: Array,
    b: Array,
    keep: bool = True,
    ids: Array | None = None,
) -> tuple[State, StepCache]:
    """One time step of N captions; `keep=False` does without what only the backward pass needs.

    With ids (for reading only) the input of caption n is x[ids[n]], as in `scan_forward`.

    Shapes: x (N, D), prev arrays (N, H), Wx (D, G H), Wh (H, G H), b (G H,), ids (N,) -> state arrays (N, H).
    """
    x, Wx, Wh, b, *prev_arrays = alike(x, Wx, Wh, b, *prev)
    prev = tuple(prev_arrays)
    ax, _ = affine_forward(x, Wx, b)
    ah = prev[0] @ Wh
    out = tuple(np.empty_like(ah, shape=h.shape) for h in prev)
    kept = np.empty_like(ah, shape=(len(ah) if keep else 0, cell.kept * len(Wh)))
    _gates_forward(cell, ax, ids, ah, prev, out, kept if keep else None)
    return out, StepCache(x, prev[0], Wx, Wh, kept)


def step_backward(cell: Cell, dstate: State, cache: StepCache) -> tuple[Array, State, Array, Array, Array]:
    """Gradients of `step_forward`, given those of the new state.

    dx = dax Wxᵀ, dh_prev = dah Whᵀ, dWx = xᵀ dax, dWh = h_prevᵀ dah, db = Σ_n dax

    Shapes: dstate arrays (N, H) -> dx (N, D), dprev arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    x, h_prev, Wx, Wh, kept = cache
    dprev = tuple(d.astype(kept.dtype) for d in dstate)
    dax = np.empty_like(kept, shape=(len(x), Wh.shape[1]))
    dah = dax if cell.added else np.empty_like(dax)
    direct = cell.backward(dprev, kept, dax, dah)
    dh_prev = dah @ Wh.T
    if direct is not None:
        dh_prev += direct
    dx, dWx, db = affine_backward(dax, (x, Wx))
    return dx, (dh_prev, *dprev[1:]), dWx, h_prev.T @ dah, db


class ScanCache(NamedTuple):
    inputs: Array
    ids: Array | None
    states: State
    Wx: Array
    Wh: Array
    kept: Array
    packing: Packing


def scan_forward(
    cell: Cell,
    inputs: Array,
    ids: Array | None,
    initial: State,
    Wx: Array,
    Wh: Array,
    b: Array,
    packing: Packing,
    keep: bool = True,
    workspace: Workspace | None = None,
) -> tuple[Array, ScanCache]:
    """All steps of packed sequences: the hidden state of every row.

    The input of row p is inputs[ids[p]] (inputs[p] without ids). A batch repeats its words, so projecting
    the U distinct ones and reading rows of the product saves most of x Wx. The loop does nothing but h_prev Wh and
    the gates. `keep=False` does without what only the backward pass needs.

    Shapes: inputs (U, D), ids (P,), initial arrays (N, H), Wx (D, G H), Wh (H, G H), b (G H,) -> h (P, H).
    """
    empty = (workspace or Workspace()).empty
    count, hidden, rows = len(packing.order), len(Wh), int(packing.starts[-1])
    dtype = np.result_type(inputs, Wx)
    ax, _ = affine_forward(inputs, Wx, b, out=empty("ax", (len(inputs), Wh.shape[1]), dtype))
    states = tuple(empty(f"state {k}", (count + rows, hidden), dtype) for k in range(cell.states))
    for state, first in zip(states, initial, strict=True):
        state[:count] = first[packing.order]
    kept = empty("kept", (rows if keep else 0, cell.kept * hidden), dtype)
    scratch = empty("ah", (count, Wh.shape[1]), dtype)
    Wh_spread = _spread(Wh, empty)
    for start, end in packing.steps():
        before = int(packing.previous[start])
        prev = tuple(s[before : before + end - start] for s in states)
        out = tuple(s[count + start : count + end] for s in states)
        ah = np.matmul(prev[0], Wh_spread, out=scratch[: end - start])
        ax_t, ids_t = (ax[start:end], None) if ids is None else (ax, ids[start:end])
        _gates_forward(cell, ax_t, ids_t, ah, prev, out, kept[start:end] if keep else None)
    return states[0][count:], ScanCache(inputs, ids, states, Wx, Wh, kept, packing)


def scan_backward(
    cell: Cell, dh: Array, cache: ScanCache, workspace: Workspace | None = None
) -> tuple[Array, State, Array, Array, Array]:
    """Gradients of `scan_forward`, given those of every row's hidden state.

    The loop does dah Whᵀ and the gates, last step first; every weight gradient is one product after it.

    Shapes: dh (P, H) -> dinputs (U, D), dinitial arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    empty = (workspace or Workspace()).empty
    inputs, ids, states, Wx, Wh, kept, packing = cache
    count, (hidden, width), dtype = len(packing.order), Wh.shape, kept.dtype
    dax = empty("dax", (len(dh), width), dtype)
    dah = dax if cell.added else empty("dah", dax.shape, dtype)
    dstate = tuple(np.zeros((count, hidden), dtype) for _ in states)
    Wh_T = _spread(Wh.T, empty)
    for start, end in reversed(list(packing.steps())):
        live = tuple(d[: end - start] for d in dstate)
        direct = []
        for block in _blocks(cell, *live[0].shape):
            at = slice(start + block.start, start + block.stop)
            live[0][block] += dh[at]
            direct.append((block, cell.backward(tuple(d[block] for d in live), kept[at], dax[at], dah[at])))
        np.matmul(dah[start:end], Wh_T, out=live[0])
        for block, dh_prev in direct:
            if dh_prev is not None:
                live[0][block] += dh_prev
    dinitial = tuple(np.empty_like(d) for d in dstate)
    for to, d in zip(dinitial, dstate, strict=True):
        to[packing.order] = d
    h_prev = empty("h_prev", dh.shape, dtype)
    np.take(states[0], packing.previous, axis=0, out=h_prev, mode="clip")
    dWh = np.matmul(h_prev.T, dah, out=empty("dWh", Wh.shape, dtype))
    dprojected = dax
    if ids is not None:
        shape = (len(inputs), width)
        dprojected = word_embedding_backward(dax, (ids, shape), out=empty("dprojected", shape, dtype))
    out = empty("dinputs", inputs.shape, dtype), empty("dWx", Wx.shape, dtype), None
    dinputs, dWx, db = affine_backward(dprojected, (inputs, Wx), out=out)
    return dinputs, dinitial, dWx, dWh, db


CACHE = 1 << 18
"""So many numbers of a cell's work at a time that its many passes over them find them in the cache."""


def _blocks(cell: Cell, rows: int, hidden: int) -> list[slice]:
    size = max(1, CACHE // (hidden * (2 * cell.gates + cell.kept + 2 * cell.states)))
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def _gates_forward(
    cell: Cell, ax: Array, ids: Array | None, ah: Array, prev: State, out: State, kept: Array | None
) -> None:
    for block in _blocks(cell, *out[0].shape):
        cell.forward(
            ax[block] if ids is None else ax[ids[block]],
            ah[block],
            tuple(s[block] for s in prev),
            tuple(s[block] for s in out),
            None if kept is None else kept[block],
        )


def _spread(W: Array, empty: Empty) -> Array:
    """A copy whose rows lie no power of two apart.

    Rows a power of two apart compete for the same cache lines while BLAS packs the matrix, once every step. A
    transposed view is copied in narrow columns, so that it is read by whole cache lines.
    """
    columns = W.shape[1]
    spread = empty(f"spread {W.shape}", (len(W), columns + 16), W.dtype)[:, :columns]
    width = columns if W.flags.c_contiguous else 64
    for first in range(0, columns, width):
        spread[:, first : first + width] = W[:, first : first + width]
    return spread
