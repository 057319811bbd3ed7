"""Word embedding: a table of word vectors, read by id."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from captioner.arrays import Array

EmbeddingCache: TypeAlias = tuple[Array, tuple[int, ...]]


def word_embedding_forward(x: Array, W: Array) -> tuple[Array, EmbeddingCache]:
    """Look up the vector of every word: out[n, t] = W[x[n, t]].

    Shapes: x (N, T) ids in 0..V-1 (any number of axes), W (V, D) -> out (N, T, D).
    """
    return W[x], (x, W.shape)


def word_embedding_backward(dout: Array, cache: EmbeddingCache, *, out: Array | None = None) -> Array:
    """Gradient of `word_embedding_forward`: dW[v] = Σ over all places of word v of dout; into `out` where it is given.

    Sorted by word, each sum is one reduction over a few rows; `np.add.at` and `np.add.reduceat` would add number by
    number.

    Shapes: dout (N, T, D) -> dW (V, D); D may stand for several axes.
    """
    x, shape = cache
    ids, rows = x.reshape(-1), dout.reshape(-1, *shape[1:])
    dW = np.empty(shape, dout.dtype) if out is None else out
    order = np.argsort(ids, kind="stable")
    counts = np.bincount(ids, minlength=shape[0])
    ends = np.cumsum(counts)
    dW[counts == 0] = 0
    once = np.flatnonzero(counts == 1)
    dW[once] = rows[order[ends[once] - 1]]
    for word in np.flatnonzero(counts > 1).tolist():
        np.add.reduce(rows[order[ends[word] - counts[word] : ends[word]]], axis=0, out=dW[word])
    return dW
