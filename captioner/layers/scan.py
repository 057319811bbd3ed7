"""The recurrent scan over packed sequences: all time steps of a batch, forward and backward.

The workers of a pool share a scan in one of two ways. If the packing has one shard per worker, each computes all hidden
units of its captions. If it has a single shard, each computes its hidden units of all captions: products have more
rows, but workers must wait for each other at every time step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.layers.block_width import block_width
from captioner.layers.blocked_matmul import BlockedMatrix
from captioner.layers.cell import Cell, CellState, project_inputs, split_gates
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.packing import Packing
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class ScanCache(NamedTuple):
    inputs: Array
    ids: Array | None
    hidden: Array
    Wx: Array
    Wh: Array
    saved: list[Array]
    packing: Packing
    has_context: bool


class Share(NamedTuple):
    """What a worker computes: the captions of a shard of the packing, and hidden units."""

    captions: int
    part: int
    """Number of its unit shard."""
    units: slice


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
    distinct inputs once saves most of x Wx. The loop computes only h_prev Wh and the gates.

    Shapes: inputs (U, D), ids (P,), initial arrays (N, H) and optionally a context (N, G, H), Wx (D, G H),
    Wh (H, G H), b (G H,) -> h (P, H).
    """
    count, hidden, rows = len(packing.order), len(Wh), len(packing.time)
    dtype = np.result_type(inputs, Wx)
    ax = project_inputs(cell, inputs, Wx, b, pool)
    ordered = [np.asarray(first[packing.order], dtype) for first in initial[: cell.states]]
    # In packed order, gate by gate.
    contexts = [np.ascontiguousarray(context[packing.order].swapaxes(0, 1)) for context in initial[cell.states :]]
    h = np.empty((count + rows, hidden), dtype)
    h[:count] = ordered[0]
    shares, units = share_work(packing, hidden, pool)
    # Contiguous for each unit shard; h is shared, because products need all of it.
    states = [(h[:, u], *(np.empty((count + rows, u.stop - u.start), dtype) for _ in ordered[1:])) for u in units]
    saved = [np.empty((cell.saved, rows if save_for_backward else 0, u.stop - u.start), dtype) for u in units]
    matrices = recurrent_matrices(split_gates(Wh, cell.gates), units, packing, pool)

    def loop(worker: int, wait: Callable[[], object]) -> None:
        captions, part, u = shares[worker]
        own, offset = states[part], packing.shards[captions]
        for state, first in zip(own[1:], ordered[1:], strict=True):
            state[offset] = first[offset, u]
        own_ax = np.ascontiguousarray(ax[:, :, u])
        for start, end in packing.steps[captions]:
            before, n = int(packing.previous[start]), end - start
            prev = tuple(s[before : before + n] for s in own)
            out = tuple(s[count + start : count + end] for s in own)
            ax_t = own_ax[:, start:end] if ids is None else own_ax.take(ids[start:end], axis=1)
            for context in contexts:
                ax_t += context[:, offset.start : offset.start + n, u]
            ah = matrices[part].product(h[before : before + n], worker)
            cell.forward(ax_t, ah, prev, out, saved[part][:, start:end] if save_for_backward else None)
            if len(units) > 1:
                wait()

    pool.map_in_step(loop)
    return h[count:], ScanCache(inputs, ids, h, Wx, Wh, saved, packing, bool(contexts))


def scan_backward(
    cell: Cell, dh: Array, cache: ScanCache, pool: ThreadPool = SERIAL
) -> tuple[Array, CellState, Array, Array, Array]:
    """Compute the gradients of `scan_forward`, given those of the hidden state of each row.

    The loop computes dah Whᵀ and the gates, last step first; each weight gradient is one product after the loop.

    Shapes: dh (P, H) -> dinputs (U, D), dinitial arrays like the initial ones, dWx (D, G H), dWh (H, G H), db (G H,).
    """
    inputs, ids, h, Wx, Wh, saved, packing, has_context = cache
    count, hidden, dtype = len(packing.order), len(Wh), h.dtype
    dax = np.empty((cell.gates, *dh.shape), dtype)
    dah = dax if cell.additive else np.empty_like(dax)
    shares, units = share_work(packing, hidden, pool)
    dstates = [tuple(np.zeros((count, u.stop - u.start), dtype) for _ in range(cell.states)) for u in units]
    dcontexts = [np.zeros((cell.gates, count, hidden), dtype)] if has_context else []
    matrices = recurrent_matrices(split_gates(Wh, cell.gates).swapaxes(1, 2), units, packing, pool)

    def loop(worker: int, wait: Callable[[], object]) -> None:
        captions, part, u = shares[worker]
        offset = packing.shards[captions]
        shard = tuple(d[offset] for d in dstates[part])
        for start, end in reversed(packing.steps[captions]):
            live = tuple(d[: end - start] for d in shard)
            live[0][...] += dh[start:end, u]
            dax_t = dax[:, start:end, u]
            direct = cell.backward(live, saved[part][:, start:end], dax_t, dah[:, start:end, u])
            for dcontext in dcontexts:
                dcontext[:, offset.start : offset.start + end - start, u] += dax_t
            if len(units) > 1:
                wait()
            first, *others = matrices[part].product(dah[:, None, start:end], worker)
            live[0][...] = first
            for dh_prev in others if direct is None else (*others, direct):
                live[0][...] += dh_prev

    pool.map_in_step(loop)
    dordered = [*map(np.hstack, zip(*dstates, strict=True)), *[dcontext.swapaxes(0, 1) for dcontext in dcontexts]]
    dinitial = tuple(np.empty(d.shape, dtype) for d in dordered)
    for to, d in zip(dinitial, dordered, strict=True):
        to[packing.order] = d
    dWh = np.empty(Wh.shape, dtype)
    pool.matmul(h[packing.previous].T, dah, split_gates(dWh, cell.gates))
    shape = (len(inputs), cell.gates, hidden)
    by_row = dax.swapaxes(0, 1)
    dax_inputs = by_row if ids is None else word_embedding_backward(by_row, (ids, shape))
    dprojected = dax_inputs.reshape(len(inputs), Wx.shape[1])
    dinputs = pool.matmul(dprojected, Wx.T, np.empty(inputs.shape, dtype))
    dWx = pool.matmul(inputs.T, dprojected, np.empty(Wx.shape, dtype))
    return dinputs, dinitial, dWx, dWh, dprojected.sum(axis=0)


def share_work(packing: Packing, hidden: int, pool: ThreadPool) -> tuple[list[Share], list[slice]]:
    """Return the share of each worker, and the unit shards: one of all units, or one per worker."""
    if len(packing.shards) == pool.size:
        every = slice(0, hidden)
        return [Share(worker, 0, every) for worker in range(pool.size)], [every]
    units = pool.shards(hidden)
    return [Share(0, worker, u) for worker, u in enumerate(units)], units


def recurrent_matrices(W: Array, units: list[slice], packing: Packing, pool: ThreadPool) -> list[BlockedMatrix]:
    """Lay out the columns of each unit shard for the products of the longest step.

    Shapes: W (G, H, H).
    """
    rows = max((end - start for steps in packing.steps for start, end in steps[:1]), default=0)
    return [BlockedMatrix(W[:, :, u], pool, block_width(rows, W[:, :, u].shape, W.dtype, pool)) for u in units]
