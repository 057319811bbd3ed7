"""Dropout in the model: rates, and noise drawn by position."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.layers.dropout import draw_noise, dropout_backward, dropout_forward
from captioner.parallel.thread_pool import ThreadPool


class Dropout(NamedTuple):
    """Dropout rates of image features, word vectors, hidden states, and the regions and keys of attention."""

    features: float = 0.0
    words: float = 0.0
    hidden: float = 0.0
    regions: float = 0.0
    keys: float = 0.0


NO_DROPOUT = Dropout()


def row_dropout_forward(
    x: Array, p: float, rng: np.random.Generator | None, rows: Array, pool: ThreadPool
) -> tuple[Array, Array | None]:
    """Apply dropout in which row r uses row rows[r] of the drawn noise; without `rng`, or with p = 0, return x.

    Shapes: x (N, D), rows (N,) -> out, mask like x.
    """
    if rng is None or not p:
        return x, None
    noise, shards, out, mask = draw_noise(x.shape, rng), pool.shards(len(x)), np.empty_like(x), np.empty_like(x)

    def drop(worker: int) -> None:
        some = shards[worker]
        out[some], mask[some] = dropout_forward(x[some], p, noise[rows[some]])

    pool.map(drop)
    return out, mask


def row_dropout_backward(dout: Array, mask: Array | None) -> Array:
    return dout if mask is None else dropout_backward(dout, mask)
