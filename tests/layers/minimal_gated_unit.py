"""A minimal gated unit (Zhou et al. 2016), as an example of a new cell."""

import numpy as np

from captioner.layers.cell import Cell, CellState
from captioner.layers.lstm import sigmoid

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
