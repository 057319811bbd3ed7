"""The feed-forward layer of a transformer: two affine maps with an activation between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array

Activation: TypeAlias = Callable[[Array, Array | None], None]
"""`activation(a, derivative)` replaces a by f(a), and writes f'(a) into `derivative` unless it is None."""

ACTIVATED_ROWS = 64
"""Rows whose activations are computed at a time, so that they stay in the CPU cache over all passes."""


def relu(a: Array, derivative: Array | None) -> None:
    """f(a) = max(0, a)."""
    if derivative is not None:
        np.greater(a, 0, out=derivative)
    np.maximum(a, 0, out=a)


def gelu(a: Array, derivative: Array | None) -> None:
    """f(a) = a s,   s = ½ (1 + tanh u),   u = √(2/π) (a + 0.044715 a³);   f'(a) = s + 2 a s (1 - s) u'.

    The derivative is NaN where its terms overflow, which needs |a| above 1e12 in float32.

    Source: Hendrycks & Gimpel 2016, "Gaussian Error Linear Units", section 2 (the form with tanh).
    """
    linear, cubic = a.dtype.type(math.sqrt(2 / math.pi)), a.dtype.type(math.sqrt(2 / math.pi) * 0.044715)
    square = a * a
    s = square * cubic
    s += linear
    s *= a
    np.tanh(s, out=s)
    s *= 0.5
    s += 0.5
    a *= s
    if derivative is not None:
        square *= 6 * cubic
        square += 2 * linear
        square *= a
        np.subtract(1, s, out=derivative)
        derivative *= square
        derivative += s


ACTIVATIONS: Mapping[str, Activation] = {"relu": relu, "gelu": gelu}
"""All activations by config name."""


def activate(a: Array, bias: Array, activation: Activation, derivative: Array | None = None) -> None:
    """Replace a by f(a + bias), and write f'(a + bias) into `derivative` unless it is None.

    Shapes: a, derivative (P, J), bias (J,).
    """
    for first in range(0, len(a), ACTIVATED_ROWS):
        block = slice(first, first + ACTIVATED_ROWS)
        a[block] += bias
        activation(a[block], None if derivative is None else derivative[block])


class FeedForwardCache(NamedTuple):
    """Shapes: x (P, E), hidden f(a), derivative f'(a) (P, J), which is None if it was not saved."""

    x: Array
    hidden: Array
    derivative: Array | None
    W1: Array
    W2: Array


def feed_forward_forward(
    x: Array,
    W1: Array,
    b1: Array,
    W2: Array,
    b2: Array,
    activation: Activation,
    save_for_backward: bool = True,
) -> tuple[Array, FeedForwardCache]:
    """Apply two affine maps with an activation between them: out = f(x W1 + b1) W2 + b2.

    Shapes: x (P, E), W1 (E, J), b1 (J,), W2 (J, E), b2 (E,) -> (P, E).
    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.3.
    """
    hidden = x @ W1
    derivative = np.empty_like(hidden) if save_for_backward else None
    activate(hidden, b1, activation, derivative)
    out = hidden @ W2
    out += b2
    return out, FeedForwardCache(x, hidden, derivative, W1, W2)


def feed_forward_backward(dout: Array, cache: FeedForwardCache) -> tuple[Array, Array, Array, Array, Array]:
    """Compute the gradients of `feed_forward_forward`, with h = f(a) and a = x W1 + b1:

    da = (dout W2ᵀ) f'(a),   dx = da W1ᵀ,   dW1 = xᵀ da,   db1 = Σ_p da_p,   dW2 = hᵀ dout,   db2 = Σ_p dout_p

    Shapes: dout (P, E) -> dx (P, E), dW1 (E, J), db1 (J,), dW2 (J, E), db2 (E,).
    """
    x, hidden, derivative, W1, W2 = cache
    assert derivative is not None
    da = dout @ W2.T
    da *= derivative
    return da @ W1.T, x.T @ da, da.sum(axis=0), hidden.T @ dout, dout.sum(axis=0)
