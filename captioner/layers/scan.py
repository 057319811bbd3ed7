"""The recurrent scan over packed sequences: all time steps of a batch, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.layers.blocked_matmul import BlockedMatrix
from captioner.layers.cell import Cell, State, by_gate, project
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.packing import Packing
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class ScanCache(NamedTuple):
    inputs: Array
    ids: Array | None
    states: State
    Wx: Array
    Wh: Array
    kept: Array
    packing: Packing
    has_context: bool


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
    pool: ThreadPool = SERIAL,
) -> tuple[Array, ScanCache]:
    """All steps of packed sequences: the hidden state of every row.

    The input of row p is inputs[ids[p]] (inputs[p] without ids). A batch repeats its words, so projecting
    the U distinct ones and reading rows of the product saves most of x Wx. The loop does nothing but h_prev Wh and
    the gates; each member of the team runs it over one part of the packing. `keep=False` does without what only the
    backward pass needs.

    Shapes: inputs (U, D), ids (P,), initial arrays (N, H) and perhaps a context (N, G, H), Wx (D, G H), Wh (H, G H),
    b (G H,) -> h (P, H).
    """
    workspace = workspace or Workspace()
    empty = workspace.empty
    count, hidden, rows = len(packing.order), len(Wh), len(packing.time)
    dtype = np.result_type(inputs, Wx)
    ax = project(cell, inputs, Wx, b, empty("ax", (cell.gates, len(inputs), hidden), dtype), pool)
    states = tuple(empty(f"state {k}", (count + rows, hidden), dtype) for k in range(cell.states))
    for state, first in zip(states, initial[: cell.states], strict=True):
        state[:count] = first[packing.order]
    # Where captions stand in `order`, gate by gate.
    contexts = [np.ascontiguousarray(context[packing.order].swapaxes(0, 1)) for context in initial[cell.states :]]
    kept = empty("kept", (cell.kept, rows if keep else 0, hidden), dtype)
    recurrent = BlockedMatrix(by_gate(Wh, cell.gates), "recurrent", workspace, pool)

    def loop(worker: int) -> None:
        place = packing.places[worker].start
        for start, end in packing.parts[worker]:
            before = int(packing.previous[start])
            prev = tuple(s[before : before + end - start] for s in states)
            out = tuple(s[count + start : count + end] for s in states)
            ax_t = ax[:, start:end] if ids is None else ax.take(ids[start:end], axis=1)
            for context in contexts:
                ax_t += context[:, place : place + end - start]
            ah = recurrent.product(prev[0], worker)
            cell.forward(ax_t, ah, prev, out, kept[:, start:end] if keep else None)

    pool.map(loop)
    return states[0][count:], ScanCache(inputs, ids, states, Wx, Wh, kept, packing, bool(contexts))


def scan_backward(
    cell: Cell, dh: Array, cache: ScanCache, workspace: Workspace | None = None, pool: ThreadPool = SERIAL
) -> tuple[Array, State, Array, Array, Array]:
    """Gradients of `scan_forward`, given those of every row's hidden state.

    The loop does dah Whᵀ and the gates, last step first; every weight gradient is one product after it.

    Shapes: dh (P, H) -> dinputs (U, D), dinitial arrays like the initial ones, dWx (D, G H), dWh (H, G H), db (G H,).
    """
    workspace = workspace or Workspace()
    empty = workspace.empty
    inputs, ids, states, Wx, Wh, kept, packing, has_context = cache
    count, hidden, dtype = len(packing.order), len(Wh), kept.dtype
    dax = empty("dax", (cell.gates, *dh.shape), dtype)
    dah = dax if cell.added else empty("dah", dax.shape, dtype)
    dstate = tuple(np.zeros((count, hidden), dtype) for _ in states)
    dcontexts = [np.zeros((cell.gates, count, hidden), dtype)] if has_context else []
    recurrent = BlockedMatrix(by_gate(Wh, cell.gates).swapaxes(1, 2), "recurrent", workspace, pool)

    def loop(worker: int) -> None:
        of_part, place = tuple(d[packing.places[worker]] for d in dstate), packing.places[worker].start
        for start, end in reversed(packing.parts[worker]):
            live = tuple(d[: end - start] for d in of_part)
            live[0][...] += dh[start:end]
            direct = cell.backward(live, kept[:, start:end], dax[:, start:end], dah[:, start:end])
            for dcontext in dcontexts:
                dcontext[:, place : place + end - start] += dax[:, start:end]
            first, *others = recurrent.product(dah[:, None, start:end], worker)
            live[0][...] = first
            for dh_prev in others if direct is None else (*others, direct):
                live[0][...] += dh_prev

    pool.map(loop)
    dordered: State = (*dstate, *[dcontext.swapaxes(0, 1) for dcontext in dcontexts])
    dinitial = tuple(np.empty(d.shape, dtype) for d in dordered)
    for to, d in zip(dinitial, dordered, strict=True):
        to[packing.order] = d
    h_prev = empty("h_prev", dh.shape, dtype)
    np.take(states[0], packing.previous, axis=0, out=h_prev, mode="clip")
    dWh = empty("dWh", Wh.shape, dtype)
    pool.matmul(h_prev.T, dah, by_gate(dWh, cell.gates))
    shape = (len(inputs), cell.gates, hidden)
    sums = empty("ax", shape, dtype)  # the projections have been read
    if ids is None:
        sums[...] = dax.swapaxes(0, 1)
    else:
        word_embedding_backward(dax.swapaxes(0, 1), (ids, shape), out=sums)
    dprojected = sums.reshape(len(inputs), Wx.shape[1])
    dinputs = pool.matmul(dprojected, Wx.T, empty("dinputs", inputs.shape, dtype))
    dWx = pool.matmul(inputs.T, dprojected, empty("dWx", Wx.shape, dtype))
    return dinputs, dinitial, dWx, dWh, dprojected.sum(axis=0)
