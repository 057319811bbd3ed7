"""Packed sequences on which every cell is tried, by scan and step by step."""

from typing import NamedTuple

import numpy as np
import pytest
from minimal_gated_unit import MGU

from captioner.layers import CELLS
from captioner.layers.cell import Cell, CellState, step_backward, step_forward
from captioner.layers.packing import pack
from captioner.layers.scan import scan_backward, scan_forward

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
