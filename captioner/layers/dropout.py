"""Inverted dropout."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array

LEVELS = 1 << 16
"""Noise is whole numbers below this: a quarter of the bits of a float, and p is still right to a part in 100,000."""


def draw_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Uniform noise for `dropout_forward`: whole numbers 0 .. LEVELS - 1."""
    return rng.integers(0, LEVELS, shape, np.uint16)


def dropout_forward(x: Array, p: float, noise: Array) -> tuple[Array, Array]:
    """Drop each number with probability p and scale the rest up: out = x m, m = [noise >= L p] / (1 - p), L = LEVELS.

    The expectation of out is x, so nothing changes when captions are decoded without dropout. p is taken as the
    nearest multiple of 1 / L below 1.

    Shapes: x (any), noise like x -> out, mask like x.
    Source: Srivastava et al. 2014, "Dropout", section 10 (the inverted form).
    """
    dropped = min(round(p * LEVELS), LEVELS - 1)
    mask = (noise >= dropped).astype(x.dtype)
    mask *= LEVELS / (LEVELS - dropped)
    return x * mask, mask


def dropout_backward(dout: Array, mask: Array) -> Array:
    """Gradient of `dropout_forward`: dx = dout m.

    Shapes: dout, mask (any) -> dx like dout.
    """
    dx: Array = dout * mask
    return dx
