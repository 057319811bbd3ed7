"""The recurrent scan over packed sequences: all time steps of a batch, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.layers.blocked_matmul import BlockedMatrix, block_width
from captioner.layers.cell import Cell, CellState, project_inputs, promote, split_gates
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.packing import Packing, pack
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class ScanCache(NamedTuple):
    inputs: Array
    ids: Array | None
    states: CellState
    Wx: Array
    Wh: Array
    saved: Array
    packing: Packing
    has_context: bool


def scan_forward(
    cell: Cell,
    inputs: Array,
    ids: Array | None,
    initial: CellState,
    Wx: Array,
    Wh: Array,
    b: Array,
    packing: Packing,
    save_for_backward: bool = True,
    pool: ThreadPool = SERIAL,
) -> tuple[Array, ScanCache]:
    """Run a cell over packed sequences, and return the hidden state of each row.

    The input of row p is inputs[ids[p]], or inputs[p] without ids. Words repeat within a batch, so projecting the U
    distinct inputs once saves most of x Wx. The loop computes only prev_h Wh and the gates; each worker of the pool
    runs it over one shard of the packing.

    Shapes: inputs (U, D), ids (P,), initial arrays (N, H) and optionally a context (N, G, H), Wx (D, G H),
    Wh (H, G H), b (G H,) -> h (P, H).
    """
    count, hidden, rows = len(packing.order), len(Wh), len(packing.time)
    dtype = np.result_type(inputs, Wx)
    ax = project_inputs(cell, inputs, Wx, b, pool)
    states = tuple(np.empty((count + rows, hidden), dtype) for _ in range(cell.states))
    for state, first in zip(states, initial[: cell.states], strict=True):
        state[:count] = first[packing.order]
    # In packed order, gate by gate.
    contexts = [np.ascontiguousarray(context[packing.order].swapaxes(0, 1)) for context in initial[cell.states :]]
    saved = np.empty((cell.saved, rows if save_for_backward else 0, hidden), dtype)
    recurrent = BlockedMatrix(split_gates(Wh, cell.gates), block_width(packing.max_rows), pool)

    def loop(worker: int) -> None:
        offset = packing.shards[worker].start
        for start, end in packing.steps[worker]:
            before = int(packing.previous[start])
            prev = tuple(s[before : before + end - start] for s in states)
            out = tuple(s[count + start : count + end] for s in states)
            ax_t = ax[:, start:end] if ids is None else ax.take(ids[start:end], axis=1)
            for context in contexts:
                ax_t += context[:, offset : offset + end - start]
            ah = recurrent.product(prev[0], worker)
            cell.forward(ax_t, ah, prev, out, saved[:, start:end] if save_for_backward else None)

    pool.map(loop)
    return states[0][count:], ScanCache(inputs, ids, states, Wx, Wh, saved, packing, bool(contexts))


def scan_backward(
    cell: Cell, dh: Array, cache: ScanCache, pool: ThreadPool = SERIAL
) -> tuple[Array, CellState, Array, Array, Array]:
    """Compute the gradients of `scan_forward`, given those of the hidden state of each row.

    The loop computes dah Whᵀ and the gates, last step first; each weight gradient is one product after the loop.

    Shapes: dh (P, H) -> dinputs (U, D), dinitial arrays like the initial ones, dWx (D, G H), dWh (H, G H), db (G H,).
    """
    inputs, ids, states, Wx, Wh, saved, packing, has_context = cache
    count, hidden, dtype = len(packing.order), len(Wh), saved.dtype
    dax = np.empty((cell.gates, *dh.shape), dtype)
    dah = dax if cell.additive else np.empty_like(dax)
    dstate = tuple(np.zeros((count, hidden), dtype) for _ in states)
    dcontexts = [np.zeros((cell.gates, count, hidden), dtype)] if has_context else []
    recurrent = BlockedMatrix(split_gates(Wh, cell.gates).swapaxes(1, 2), block_width(packing.max_rows), pool)

    def loop(worker: int) -> None:
        shard, offset = tuple(d[packing.shards[worker]] for d in dstate), packing.shards[worker].start
        for start, end in reversed(packing.steps[worker]):
            live = tuple(d[: end - start] for d in shard)
            live[0][...] += dh[start:end]
            direct = cell.backward(live, saved[:, start:end], dax[:, start:end], dah[:, start:end])
            for dcontext in dcontexts:
                dcontext[:, offset : offset + end - start] += dax[:, start:end]
            first, *others = recurrent.product(dah[:, None, start:end], worker)
            live[0][...] = first
            for dprev_h in others if direct is None else (*others, direct):
                live[0][...] += dprev_h

    pool.map(loop)
    dordered: CellState = (*dstate, *[dcontext.swapaxes(0, 1) for dcontext in dcontexts])
    dinitial = tuple(np.empty(d.shape, dtype) for d in dordered)
    for to, d in zip(dinitial, dordered, strict=True):
        to[packing.order] = d
    dWh = np.empty(Wh.shape, dtype)
    pool.matmul(states[0][packing.previous].T, dah, split_gates(dWh, cell.gates))
    shape = (len(inputs), cell.gates, hidden)
    by_row = dax.swapaxes(0, 1)
    dax_inputs = by_row if ids is None else word_embedding_backward(by_row, (ids, shape))
    dprojected = dax_inputs.reshape(len(inputs), Wx.shape[1])
    dinputs = pool.matmul(dprojected, Wx.T, np.empty(inputs.shape, dtype))
    dWx = pool.matmul(inputs.T, dprojected, np.empty(Wx.shape, dtype))
    return dinputs, dinitial, dWx, dWh, dprojected.sum(axis=0)


def sequence_forward(
    cell: Cell, x: Array, initial: CellState, Wx: Array, Wh: Array, b: Array
) -> tuple[Array, ScanCache]:
    """Run `scan_forward` over N sequences of T steps.

    Shapes: x (N, T, D), initial arrays (N, H) -> h (N, T, H).
    """
    x, Wx, Wh, b, *initial_arrays = promote(x, Wx, Wh, b, *initial)
    packing = pack(np.full(len(x), x.shape[1]))
    rows = x[packing.caption, packing.time]
    h, cache = scan_forward(cell, rows, None, tuple(initial_arrays), Wx, Wh, b, packing)
    return packing.unpack(h, x.shape[1]), cache


def sequence_backward(cell: Cell, dh: Array, cache: ScanCache) -> tuple[Array, CellState, Array, Array, Array]:
    """Run `scan_backward` over N sequences of T steps.

    Shapes: dh (N, T, H) -> dx (N, T, D), dinitial arrays (N, H), dWx (D, G H), dWh (H, G H), db (G H,).
    """
    packing = cache.packing
    dx, dinitial, dWx, dWh, db = scan_backward(cell, dh[packing.caption, packing.time], cache)
    return packing.unpack(dx, dh.shape[1]), dinitial, dWx, dWh, db
