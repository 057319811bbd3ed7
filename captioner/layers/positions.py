"""Sinusoidal positions, added to word vectors because attention does not know the order of words."""

from __future__ import annotations

import math

import numpy as np

from captioner.arrays import Array


def sinusoids(length: int, width: int, first: int = 0) -> Array:
    """Compute the vector of each position t from `first` to T - 1:

    S[t, 2i] = sin(t / 10000^(2i/E)), S[t, 2i + 1] = cos(t / 10000^(2i/E)).

    Shapes: -> (T - first, E) float64.
    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    column = np.arange(width)
    angle = np.arange(first, length)[:, None] / 10000 ** ((column - column % 2) / width)
    return np.where(column % 2, np.cos(angle), np.sin(angle))


def positions_forward(x: Array, time: Array) -> Array:
    """Scale word vectors and add their positions: out_p = √E x_p + S[time_p].

    Shapes: x (P, E), time (P,) -> (P, E).
    Source: Vaswani et al. 2017, "Attention Is All You Need", sections 3.4 (the factor) and 3.5.
    """
    out: Array = x * x.dtype.type(math.sqrt(x.shape[1]))
    last = int(time.max(initial=0))
    first = int(time.min(initial=last))
    out += sinusoids(last + 1, x.shape[1], first).astype(x.dtype)[time - first]
    return out


def positions_backward(dout: Array) -> Array:
    """Compute the gradient of `positions_forward`: dx = √E dout.

    Shapes: dout (P, E) -> (P, E).
    """
    dx: Array = dout * dout.dtype.type(math.sqrt(dout.shape[1]))
    return dx
