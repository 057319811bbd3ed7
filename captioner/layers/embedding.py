"""Word embedding, and the sinusoidal positions of a transformer, whose attention does not know the order of words."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array

EmbeddingCache: TypeAlias = tuple[Array, tuple[int, ...]]


def word_embedding_forward(x: Array, W: Array) -> tuple[Array, EmbeddingCache]:
    """Look up word vectors by id: out[n, t] = W[x[n, t]].

    Shapes: x (N, T) ids in 0..V-1 (any number of axes), W (V, D) -> out (N, T, D).
    """
    return W[x], (x, W.shape)


def word_embedding_backward(dout: Array, cache: EmbeddingCache) -> Array:
    """Compute the gradient of `word_embedding_forward`: dW[v] = Σ_{n,t: x[n,t]=v} dout[n, t].

    Rows are sorted by word, so that each sum is one vectorized reduction; `np.add.at` and `np.add.reduceat` add one
    element at a time.

    Shapes: dout (N, T, D) -> dW (V, D); D may be several axes.
    """
    x, shape = cache
    ids, rows = x.reshape(-1), dout.reshape(-1, *shape[1:])
    dW = np.empty(shape, dout.dtype)
    order = np.argsort(ids, kind="stable")
    counts = np.bincount(ids, minlength=shape[0])
    ends = np.cumsum(counts)
    dW[counts == 0] = 0
    once = np.flatnonzero(counts == 1)
    dW[once] = rows[order[ends[once] - 1]]
    for word in np.flatnonzero(counts > 1).tolist():
        np.add.reduce(rows[order[ends[word] - counts[word] : ends[word]]], axis=0, out=dW[word])
    return dW


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
