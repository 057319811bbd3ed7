"""The vanilla recurrent cell, with the names of CS231n."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.layers.cell import Cell, State, StepCache, step_backward, step_forward
from captioner.layers.padded import sequence_backward, sequence_forward
from captioner.layers.scan import ScanCache


def gates_forward(ax: Array, ah: Array, prev: State, out: State, kept: Array | None) -> None:
    """The new hidden state: h = tanh(ax + ah); keeps its derivative 1 - h².

    Shapes: ax, ah (1, N, H) -> out h (N, H), kept (1, N, H).
    """
    (h,) = out
    ah += ax
    np.tanh(ah[0], out=h)
    if kept is not None:
        np.multiply(h, h, out=kept[0])
        np.subtract(1, kept, out=kept)


def gates_backward(dstate: State, kept: Array, dax: Array, dah: Array) -> None:
    """Gradient of the pre-activation: da = dh (1 - h²).

    Shapes: dstate dh (N, H), kept (1, N, H) -> dah, the same array as dax, (1, N, H).
    """
    np.multiply(dstate[0], kept, out=dah)


RNN = Cell(gates=1, states=1, kept=1, added=True, forward=gates_forward, backward=gates_backward)


def rnn_step_forward(x: Array, prev_h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, StepCache]:
    """One step of N captions: h = tanh(x Wx + h_prev Wh + b).

    Shapes: x (N, D), prev_h (N, H), Wx (D, H), Wh (H, H), b (H,) -> next_h (N, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    (next_h,), cache = step_forward(RNN, x, (prev_h,), Wx, Wh, b)
    return next_h, cache


def rnn_step_backward(dnext_h: Array, cache: StepCache) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of `rnn_step_forward`.

    Shapes: dnext_h (N, H) -> dx (N, D), dprev_h (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    dx, (dprev_h,), dWx, dWh, db = step_backward(RNN, (dnext_h,), cache)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ScanCache]:
    """All T steps of N sequences.

    Shapes: x (N, T, D), h0 (N, H), Wx (D, H), Wh (H, H), b (H,) -> h (N, T, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    return sequence_forward(RNN, x, (h0,), Wx, Wh, b)


def rnn_backward(dh: Array, cache: ScanCache) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of `rnn_forward`.

    Shapes: dh (N, T, H) -> dx (N, T, D), dh0 (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    dx, (dh0,), dWx, dWh, db = sequence_backward(RNN, dh, cache)
    return dx, dh0, dWx, dWh, db
