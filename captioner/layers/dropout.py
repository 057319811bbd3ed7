"""Inverted dropout."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array


def dropout_forward(x: Array, p: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Drop each number with probability p and scale the rest up: out = x m, m = [u >= p] / (1 - p), u ~ U(0, 1).

    The expectation of out is x, so nothing changes when captions are decoded without dropout.

    Shapes: x (any) -> out, mask like x.
    Source: Srivastava et al. 2014, "Dropout", section 10 (the inverted form).
    """
    mask = (rng.random(x.shape, dtype=np.float32) >= p).astype(x.dtype)
    mask *= 1 / (1 - p)
    return x * mask, mask


def dropout_backward(dout: Array, mask: Array) -> Array:
    """Gradient of `dropout_forward`: dx = dout m.

    Shapes: dout, mask (any) -> dx like dout.
    """
    dx: Array = dout * mask
    return dx
