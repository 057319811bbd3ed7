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


class NoiseRows(NamedTuple):
    """The rows of drawn noise that some rows of an array use: row r uses row rows[r] of `total`.

    Noise is drawn for all captions of a batch in their order. So it does not depend on how threads and ranks share the
    captions.

    Shapes: rows (N,), each below `total`.
    """

    rows: Array
    total: int

    def blocks(self, size: int) -> NoiseRows:
        """Return the rows of noise for `size` rows in place of each."""
        rows = (self.rows[:, None] * size + np.arange(size)).reshape(-1)
        return NoiseRows(rows, self.total * size)


def row_dropout_forward(
    x: Array, p: float, rng: np.random.Generator | None, noise_rows: NoiseRows, pool: ThreadPool
) -> tuple[Array, Array | None]:
    """Apply dropout with some rows of drawn noise; without `rng`, or with p = 0, return x.

    Shapes: x (N, D), noise_rows of N rows -> out, mask like x.
    """
    if rng is None or not p:
        return x, None
    rows, noise = noise_rows.rows, draw_noise((noise_rows.total, x.shape[1]), rng)
    shards, out, mask = pool.shards(len(x)), np.empty_like(x), np.empty_like(x)

    def drop(worker: int) -> None:
        some = shards[worker]
        out[some], mask[some] = dropout_forward(x[some], p, noise[rows[some]])

    pool.map(drop)
    return out, mask


def row_dropout_backward(dout: Array, mask: Array | None) -> Array:
    return dout if mask is None else dropout_backward(dout, mask)
