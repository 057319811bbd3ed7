"""Dropout rates of a model, with noise drawn per caption."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.layers.dropout import draw_noise, dropout_backward, dropout_forward
from captioner.parallel.thread_pool import ThreadPool


class Dropout(NamedTuple):
    """The share of numbers dropped in training: of the image feature, the word vectors, the hidden output."""

    features: float = 0.0
    words: float = 0.0
    hidden: float = 0.0


NO_DROPOUT = Dropout()


def drop(
    x: Array, p: float, rng: np.random.Generator | None, rows: Array, pool: ThreadPool
) -> tuple[Array, Array | None]:
    """Dropout, where the noise of row r is the rows[r]-th of what is drawn."""
    if rng is None or not p:
        return x, None
    noise, shards, out, mask = draw_noise(x.shape, rng), pool.shards(len(x)), np.empty_like(x), np.empty_like(x)

    def drop(worker: int) -> None:
        some = shards[worker]
        out[some], mask[some] = dropout_forward(x[some], p, noise[rows[some]])

    pool.map(drop)
    return out, mask


def undrop(dout: Array, mask: Array | None) -> Array:
    return dout if mask is None else dropout_backward(dout, mask)
