"""Inverted dropout, and dropout of rows of a batch with noise drawn by position."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.parallel.thread_pool import ThreadPool

LEVELS = 1 << 16
"""Noise levels: 16-bit integers need a quarter of the random bits of float64; the error of p is below 1e-5."""


def draw_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw uniform noise for `dropout_forward`: integers 0 .. LEVELS - 1."""
    return rng.integers(0, LEVELS, shape, np.uint16)


def dropout_forward(x: Array, p: float, noise: Array) -> tuple[Array, Array]:
    """Apply inverted dropout with rate p: out = x m, m = [noise >= L p] / (1 - p), L = LEVELS.

    The expectation of out is x, so inference needs no scaling. p is rounded to a multiple of 1 / L below 1.

    Shapes: x (any), noise like x -> out, mask like x.
    Source: Srivastava et al. 2014, "Dropout", section 10 (the inverted form).
    """
    dropped = min(round(p * LEVELS), LEVELS - 1)
    mask = (noise >= dropped).astype(x.dtype)
    mask *= LEVELS / (LEVELS - dropped)
    return x * mask, mask


def dropout_backward(dout: Array, mask: Array) -> Array:
    """Compute the gradient of `dropout_forward`: dx = dout m.

    Shapes: dout, mask (any) -> dx like dout.
    """
    dx: Array = dout * mask
    return dx


class Dropout(NamedTuple):
    """Dropout rates of features, words, hidden states, the regions and keys of attention, and outputs of layers."""

    features: float = 0.0
    words: float = 0.0
    hidden: float = 0.0
    regions: float = 0.0
    keys: float = 0.0
    layers: float = 0.0


NO_DROPOUT = Dropout()


class NoiseRows(NamedTuple):
    """The rows of drawn noise that some rows of an array use: row r uses row rows[r] of `total`.

    Noise is drawn for all captions of a batch in their order. So it does not depend on how threads and ranks share the
    captions.

    Shapes: rows (N,), each below `total`.
    """

    rows: Array
    total: int


def row_dropout_forward(
    x: Array, p: float, rng: np.random.Generator | None, noise_rows: NoiseRows, pool: ThreadPool
) -> tuple[Array, Array | None]:
    """Apply dropout with some rows of drawn noise; without `rng`, or with p = 0, return x.

    Shapes: x (N, ...), noise_rows of N rows -> out, mask like x.
    """
    if rng is None or not p:
        return x, None
    rows, noise = noise_rows.rows, draw_noise((noise_rows.total, *x.shape[1:]), rng)
    shards, out, mask = pool.shards(len(x)), np.empty_like(x), np.empty_like(x)

    def drop(worker: int) -> None:
        shard = shards[worker]
        out[shard], mask[shard] = dropout_forward(x[shard], p, noise[rows[shard]])

    pool.map(drop)
    return out, mask


def row_dropout_backward(dout: Array, mask: Array | None) -> Array:
    return dout if mask is None else dropout_backward(dout, mask)
