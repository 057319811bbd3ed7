"""Word embedding."""

from __future__ import annotations

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
