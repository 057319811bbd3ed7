"""The LSTM cell, with CS231n's names and gate order (i, f, o, g)."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.layers.cell import Cell, CellState, StepCache, step_backward, step_forward
from captioner.layers.scan import ScanCache, sequence_backward, sequence_forward


def sigmoid(x: Array) -> Array:
    """Compute the logistic function by tanh, which cannot overflow: σ(x) = ½ tanh(½ x) + ½.

    Shapes: x (any) -> like x.
    """
    out: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return out


def gates_forward(ax: Array, ah: Array, prev: CellState, out: CellState, saved: Array | None) -> None:
    """Compute the new states from the pre-activations a = ax + ah:

    i = σ(a_i), f = σ(a_f), o = σ(a_o), g = tanh(a_g);   c = f ⊙ prev_c + i ⊙ g;   h = o ⊙ tanh(c)

    Saves the six local derivatives of the backward pass, while their factors are in the CPU cache:
    ∂c/∂a_i = g ⊙ i ⊙ (1 - i), ∂c/∂a_f = prev_c ⊙ f ⊙ (1 - f), ∂h/∂a_o = tanh(c) ⊙ o ⊙ (1 - o),
    ∂c/∂a_g = i ⊙ (1 - g²), ∂h/∂c = o ⊙ (1 - tanh²(c)), ∂c/∂prev_c = f.

    Shapes: ax, ah (4, N, H); prev, out h and c (N, H); saved (6, N, H).
    Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """
    prev_c = prev[1]
    h, c = out
    ah += ax
    # σ(x) = ½ tanh(½ x) + ½, so one call of tanh computes all four gates.
    ifo = ah[:3]
    ifo *= 0.5
    np.tanh(ah, out=ah)
    ifo *= 0.5
    ifo += 0.5
    i, f, o, g = ah
    np.multiply(f, prev_c, out=c)
    c += i * g
    tanh_c = np.tanh(c)
    np.multiply(o, tanh_c, out=h)
    if saved is None:
        return
    d_i, d_f, d_o, d_g, dh_dc, dc_dc = saved
    d_ifo = saved[:3]
    np.subtract(1, ifo, out=d_ifo)
    d_ifo *= ifo
    d_i *= g
    d_f *= prev_c
    d_o *= tanh_c
    np.multiply(g, g, out=d_g)
    np.subtract(1, d_g, out=d_g)
    d_g *= i
    np.multiply(tanh_c, tanh_c, out=dh_dc)
    np.subtract(1, dh_dc, out=dh_dc)
    dh_dc *= o
    dc_dc[...] = f


def gates_backward(dstate: CellState, saved: Array, dax: Array, dah: Array) -> None:
    """Compute the gradients of the pre-activations, and replace dc by the gradient of prev_c:

    dc += dh ⊙ ∂h/∂c;   da_i, da_f, da_g = dc ⊙ ∂c/∂a;   da_o = dh ⊙ ∂h/∂a_o;   dprev_c = dc ⊙ f

    Shapes: dstate dh and dc (N, H), saved (6, N, H) -> dah, the same array as dax, (4, N, H).
    """
    dh, dc = dstate
    d_i, d_f, d_o, d_g, dh_dc, dc_dc = saved
    da_i, da_f, da_o, da_g = dah
    dc += dh * dh_dc
    np.multiply(dc, d_i, out=da_i)
    np.multiply(dc, d_f, out=da_f)
    np.multiply(dh, d_o, out=da_o)
    np.multiply(dc, d_g, out=da_g)
    dc *= dc_dc


LSTM = Cell(
    gates=4,
    states=2,
    saved=6,
    additive=True,
    forward=gates_forward,
    backward=gates_backward,
    forget=1,
    gate_names="ifog",
)


def lstm_step_forward(
    x: Array, prev_h: Array, prev_c: Array, Wx: Array, Wh: Array, b: Array
) -> tuple[Array, Array, StepCache]:
    """Compute one step of N captions.

    Shapes: x (N, D), prev_h, prev_c (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,) -> next_h, next_c (N, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    (next_h, next_c), cache = step_forward(LSTM, x, (prev_h, prev_c), Wx, Wh, b)
    return next_h, next_c, cache


def lstm_step_backward(
    dnext_h: Array, dnext_c: Array, cache: StepCache
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Compute the gradients of `lstm_step_forward`.

    Shapes: dnext_h, dnext_c (N, H) -> dx (N, D), dprev_h, dprev_c (N, H), dWx (D, 4 H), dWh (H, 4 H), db (4 H,).
    """
    dx, (dprev_h, dprev_c), dWx, dWh, db = step_backward(LSTM, (dnext_h, dnext_c), cache)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ScanCache]:
    """Compute all T steps of N sequences, from c0 = 0.

    Shapes: x (N, T, D), h0 (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,) -> h (N, T, H).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    return sequence_forward(LSTM, x, (h0, np.zeros_like(h0)), Wx, Wh, b)


def lstm_backward(dh: Array, cache: ScanCache) -> tuple[Array, Array, Array, Array, Array]:
    """Compute the gradients of `lstm_forward`.

    Shapes: dh (N, T, H) -> dx (N, T, D), dh0 (N, H), dWx (D, 4 H), dWh (H, 4 H), db (4 H,).
    """
    dx, (dh0, _), dWx, dWh, db = sequence_backward(LSTM, dh, cache)
    return dx, dh0, dWx, dWh, db
