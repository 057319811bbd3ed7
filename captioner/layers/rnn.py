"""The vanilla RNN cell, with CS231n's names."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.layers.cell import Cell, CellState, StepCache, step_backward, step_forward
from captioner.layers.scan import ScanCache, sequence_backward, sequence_forward


def gates_forward(ax: Array, ah: Array, prev: CellState, out: CellState, saved: Array | None) -> None:
    """Compute the new hidden state h = tanh(ax + ah), and save its derivative 1 - h².

    Shapes: ax, ah (1, N, H) -> out h (N, H), saved (1, N, H).
    """
    (h,) = out
    ah += ax
    np.tanh(ah[0], out=h)
    if saved is not None:
        np.multiply(h, h, out=saved[0])
        np.subtract(1, saved, out=saved)


def gates_backward(dstate: CellState, saved: Array, dax: Array, dah: Array) -> None:
    """Compute the gradient of the pre-activation: da = dh ⊙ (1 - h²).

    Shapes: dstate dh (N, H), saved (1, N, H) -> dah, the same array as dax, (1, N, H).
    """
    np.multiply(dstate[0], saved, out=dah)


RNN = Cell(gates=1, states=1, saved=1, additive=True, forward=gates_forward, backward=gates_backward)


def rnn_step_forward(x: Array, prev_h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, StepCache]:
    """Compute one step of N captions: h = tanh(x Wx + prev_h Wh + b).

    Shapes: x (N, D), prev_h (N, H), Wx (D, H), Wh (H, H), b (H,) -> next_h (N, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    (next_h,), cache = step_forward(RNN, x, (prev_h,), Wx, Wh, b)
    return next_h, cache


def rnn_step_backward(dnext_h: Array, cache: StepCache) -> tuple[Array, Array, Array, Array, Array]:
    """Compute the gradients of `rnn_step_forward`.

    Shapes: dnext_h (N, H) -> dx (N, D), dprev_h (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    dx, (dprev_h,), dWx, dWh, db = step_backward(RNN, (dnext_h,), cache)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ScanCache]:
    """Compute all T steps of N sequences.

    Shapes: x (N, T, D), h0 (N, H), Wx (D, H), Wh (H, H), b (H,) -> h (N, T, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    return sequence_forward(RNN, x, (h0,), Wx, Wh, b)


def rnn_backward(dh: Array, cache: ScanCache) -> tuple[Array, Array, Array, Array, Array]:
    """Compute the gradients of `rnn_forward`.

    Shapes: dh (N, T, H) -> dx (N, T, D), dh0 (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    dx, (dh0,), dWx, dWh, db = sequence_backward(RNN, dh, cache)
    return dx, dh0, dWx, dWh, db
