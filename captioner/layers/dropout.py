"""Inverted dropout."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array

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
