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


def word_embedding_backward(dout: Array, cache: EmbeddingCache) -> Array:
    """Gradient of `word_embedding_forward`: dW[v] = Σ over all places of word v of dout.

    Shapes: dout (N, T, D) -> dW (V, D).
    """
    x, shape = cache
    dW = np.zeros(shape, dout.dtype)
    ids, sums = sum_rows_by_id(x.reshape(-1), dout.reshape(-1, shape[1]))
    dW[ids] = sums
    return dW


def sum_rows_by_id(ids: Array, rows: Array) -> tuple[Array, Array]:
    """Add up the rows that share an id; the ids come out in rising order.

    Sorted by id, each sum is one reduction over neighbouring rows; `np.add.at` and `np.add.reduceat` would add number
    by number.

    Shapes: ids (P,), rows (P, D) -> distinct ids (U,), sums (U, D).
    """
    order = np.argsort(ids, kind="stable")
    ordered, rows = ids[order], rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ids)])
    ends = np.r_[starts[1:], len(ids)]
    sums = rows[starts]
    for k in np.flatnonzero(ends - starts > 1).tolist():
        np.add.reduce(rows[starts[k] : ends[k]], axis=0, out=sums[k])
    return ordered[starts], sums
